// Causal self-attention over packed rows, forward and backward.
//
// A task is a cluster (rows that share prefixes; its packed tokens are contiguous) and a key-value head with its query
// heads: no two tasks write the same place, so the result does not depend on the number of threads.  A row's queries
// are those of the tokens that it owns; its keys are all of its tokens, shared ones too.  Everything is float32; scores
// are held for a block of queries at a time, and the backward pass makes them again (Dao et al. 2022, arXiv:2205.14135):
//
//   dV = P^T dO      dS = c P * (dP - rowsum(P * dP)), dP = dO V^T      dQ = dS K      dK = dS^T Q
#pragma once

#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int64_t LANES = 16, TILE_ROWS = 8;
#else
constexpr int64_t LANES = 8, TILE_ROWS = 4;
#endif
constexpr int64_t TILE_VECTORS = 3, QUERIES = 32;
typedef float Lanes __attribute__((vector_size(LANES * 4)));

inline int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
inline Lanes lanes_at(const float *p) { Lanes v; std::memcpy(&v, p, sizeof v); return v; }

template <int64_t ROWS, int64_t VECTORS>
inline void tile(int64_t inner, const float *a, int64_t row, int64_t column, const float *b, int64_t ldb, float *c,
                 int64_t ldc, bool add) {
  Lanes sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int64_t i = 0; i < ROWS; i++)
#pragma GCC unroll 3
    for (int64_t j = 0; j < VECTORS; j++) sums[i][j] = add ? lanes_at(c + i * ldc + j * LANES) : Lanes{};
  for (int64_t k = 0; k < inner; k++) {
    Lanes right[VECTORS];
#pragma GCC unroll 3
    for (int64_t j = 0; j < VECTORS; j++) right[j] = lanes_at(b + k * ldb + j * LANES);
#pragma GCC unroll 8
    for (int64_t i = 0; i < ROWS; i++) {
      float left = a[i * row + k * column];
#pragma GCC unroll 3
      for (int64_t j = 0; j < VECTORS; j++) sums[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < ROWS; i++)
#pragma GCC unroll 3
    for (int64_t j = 0; j < VECTORS; j++) std::memcpy(c + i * ldc + j * LANES, &sums[i][j], sizeof(Lanes));
}

template <int64_t VECTORS>
void panel(int64_t rows, int64_t inner, const float *a, int64_t row, int64_t column, const float *b, int64_t ldb,
           float *c, int64_t ldc, bool add) {
  int64_t i = 0;
  for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
    tile<TILE_ROWS, VECTORS>(inner, a + i * row, row, column, b, ldb, c + i * ldc, ldc, add);
  for (; i < rows; i++) tile<1, VECTORS>(inner, a + i * row, row, column, b, ldb, c + i * ldc, ldc, add);
}

// C [rows, columns] = (or += where `add`) A B, A's element (i, k) at a[i * row + k * column]; columns in whole vectors
void product(int64_t rows, int64_t columns, int64_t inner, const float *a, int64_t row, int64_t column, const float *b,
             int64_t ldb, float *c, int64_t ldc, bool add) {
  int64_t j = 0;
  for (; j + TILE_VECTORS * LANES <= columns; j += TILE_VECTORS * LANES)
    panel<TILE_VECTORS>(rows, inner, a, row, column, b + j, ldb, c + j, ldc, add);
  for (; j < columns; j += LANES) panel<1>(rows, inner, a, row, column, b + j, ldb, c + j, ldc, add);
}

struct PackedRows {
  int64_t clusters;
  const int64_t *first;   // [clusters + 1] rows
  const int64_t *starts;  // [rows + 1] into paths
  const int64_t *paths;   // the packed token at each place of each row
  const int64_t *shared;  // [rows] places that belong to a row before
};

struct Shape {
  int64_t heads, kv_heads, d, half;  // half: pairs of coordinates that are turned
  float scale;
  const float *turns;  // [N, 2, half]: cosines and sines, or null
  int64_t stride() const { return (heads + 2 * kv_heads) * d; }
};

template <class T>
void read_head(const Shape &shape, const T *states, int64_t place, int64_t head, bool turned, float *out) {
  const T *from = states + place * shape.stride() + head * shape.d;
  for (int64_t j = 0; j < shape.d; j++) out[j] = load(from + j);
  if (!turned || !shape.turns) return;
  const float *c = shape.turns + place * 2 * shape.half, *s = c + shape.half;
  for (int64_t j = 0; j < shape.half; j++) {
    float x = out[j], y = out[j + shape.half];
    out[j] = x * c[j] - y * s[j];
    out[j + shape.half] = y * c[j] + x * s[j];
  }
}

// the gradient of what read_head read, turned back in place
template <class T>
void write_head(const Shape &shape, T *grads, int64_t place, int64_t head, bool turned, float *grad) {
  if (turned && shape.turns) {
    const float *c = shape.turns + place * 2 * shape.half, *s = c + shape.half;
    for (int64_t j = 0; j < shape.half; j++) {
      float x = grad[j], y = grad[j + shape.half];
      grad[j] = x * c[j] + y * s[j];
      grad[j + shape.half] = y * c[j] - x * s[j];
    }
  }
  T *to = grads + place * shape.stride() + head * shape.d;
  for (int64_t j = 0; j < shape.d; j++) store(to + j, grad[j]);
}

void transpose(int64_t rows, int64_t columns, const float *from, int64_t ldf, float *to, int64_t ldt) {
  for (int64_t j = 0; j < columns; j++)
    for (int64_t i = 0; i < rows; i++) to[j * ldt + i] = from[i * ldf + j];
}

// P in place of the scores of queries begin .. begin + count; zero behind each query's own place
void causal_softmax(int64_t count, int64_t begin, int64_t width, int64_t ld, float scale, float *scores) {
  for (int64_t i = 0; i < count; i++) {
    float *s = scores + i * ld;
    int64_t seen = begin + i + 1;
    float top = -INFINITY, total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < seen; j++) top = s[j] > top ? s[j] : top;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < seen; j++) { s[j] = exp_((s[j] - top) * scale); total += s[j]; }
    float inverse = 1.0f / total;
#pragma omp simd
    for (int64_t j = 0; j < seen; j++) s[j] *= inverse;
    for (int64_t j = seen; j < width; j++) s[j] = 0.0f;
  }
}

// One row's keys and values, as the products want them, and room for one block of its queries.
struct Row {
  int64_t length, ld, d, ldd;  // ld, ldd: length and d in whole vectors
  const int64_t *path;
  std::vector<float> keys, values, keys_across, values_across, query, scores;

  template <class T>
  Row(const Shape &shape, const PackedRows &rows, int64_t row, int64_t kv, const T *states, bool backward)
      : length(rows.starts[row + 1] - rows.starts[row]), ld(padded(length)), d(shape.d), ldd(padded(shape.d)),
        path(rows.paths + rows.starts[row]), keys(length * ldd), values(length * ldd), keys_across(d * ld),
        query(QUERIES * ldd), scores(QUERIES * ld) {
    for (int64_t i = 0; i < length; i++) {
      read_head(shape, states, path[i], shape.heads + kv, true, &keys[i * ldd]);
      read_head(shape, states, path[i], shape.heads + shape.kv_heads + kv, false, &values[i * ldd]);
    }
    transpose(length, d, keys.data(), ldd, keys_across.data(), ld);
    if (!backward) return;
    values_across.resize(d * ld);
    transpose(length, d, values.data(), ldd, values_across.data(), ld);
  }

  // P [count, padded(begin + count)] of the block's queries, in `scores`
  template <class T>
  void probabilities(const Shape &shape, const T *states, int64_t head, int64_t begin, int64_t count) {
    for (int64_t i = 0; i < count; i++) read_head(shape, states, path[begin + i], head, true, &query[i * ldd]);
    int64_t width = padded(begin + count);
    product(count, width, d, query.data(), ldd, 1, keys_across.data(), ld, scores.data(), ld, false);
    causal_softmax(count, begin, width, ld, shape.scale, scores.data());
  }
};

template <class T>
void attend(const Shape &shape, const PackedRows &rows, int64_t row, int64_t kv, const T *states, T *out) {
  Row own(shape, rows, row, kv, states, false);
  std::vector<float> attended(QUERIES * own.ldd);
  int64_t group = shape.heads / shape.kv_heads;
  for (int64_t head = kv * group; head < (kv + 1) * group; head++)
    for (int64_t begin = rows.shared[row]; begin < own.length; begin += QUERIES) {
      int64_t count = std::min(QUERIES, own.length - begin);
      own.probabilities(shape, states, head, begin, count);
      product(count, own.ldd, begin + count, own.scores.data(), own.ld, 1, own.values.data(), own.ldd, attended.data(),
              own.ldd, false);
      for (int64_t i = 0; i < count; i++) {
        T *to = out + (own.path[begin + i] * shape.heads + head) * shape.d;
        for (int64_t j = 0; j < shape.d; j++) store(to + j, attended[i * own.ldd + j]);
      }
    }
}

// dQ goes to `grads`; dK and dV are added to those of the cluster, whose first packed token is `base`
template <class T>
void attend_backward(const Shape &shape, const PackedRows &rows, int64_t row, int64_t kv, const T *states,
                     const T *grad_out, T *grads, int64_t base, float *grad_keys, float *grad_values) {
  Row own(shape, rows, row, kv, states, true);
  int64_t ld = own.ld, ldd = own.ldd, group = shape.heads / shape.kv_heads;
  std::vector<float> outer(QUERIES * ldd), turned(QUERIES * ldd), grad_scores(QUERIES * ld);
  std::vector<float> of_keys(own.length * ldd), of_values(own.length * ldd);
  for (int64_t head = kv * group; head < (kv + 1) * group; head++)
    for (int64_t begin = rows.shared[row]; begin < own.length; begin += QUERIES) {
      int64_t count = std::min(QUERIES, own.length - begin), end = begin + count;
      own.probabilities(shape, states, head, begin, count);
      for (int64_t i = 0; i < count; i++) {
        const T *from = grad_out + (own.path[begin + i] * shape.heads + head) * shape.d;
        for (int64_t j = 0; j < shape.d; j++) outer[i * ldd + j] = load(from + j);
      }
      float *p = own.scores.data(), *ds = grad_scores.data();
      product(end, ldd, count, p, 1, ld, outer.data(), ldd, of_values.data(), ldd, true);
      product(count, padded(end), shape.d, outer.data(), ldd, 1, own.values_across.data(), ld, ds, ld, false);
      for (int64_t i = 0; i < count; i++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < end; j++) dot += ds[i * ld + j] * p[i * ld + j];
#pragma omp simd
        for (int64_t j = 0; j < end; j++) ds[i * ld + j] = shape.scale * p[i * ld + j] * (ds[i * ld + j] - dot);
      }
      product(count, ldd, end, ds, ld, 1, own.keys.data(), ldd, turned.data(), ldd, false);
      product(end, ldd, count, ds, 1, ld, own.query.data(), ldd, of_keys.data(), ldd, true);
      for (int64_t i = 0; i < count; i++) write_head(shape, grads, own.path[begin + i], head, true, &turned[i * ldd]);
    }
  for (int64_t i = 0; i < own.length; i++) {
    int64_t place = (own.path[i] - base) * ldd;
#pragma omp simd
    for (int64_t j = 0; j < shape.d; j++) {
      grad_keys[place + j] += of_keys[i * ldd + j];
      grad_values[place + j] += of_values[i * ldd + j];
    }
  }
}

template <class T>
void attention(int threads, const PackedRows &rows, const Shape &shape, const T *states, T *out) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t task = 0; task < rows.clusters * shape.kv_heads; task++) {
    int64_t cluster = task / shape.kv_heads;
    for (int64_t row = rows.first[cluster]; row < rows.first[cluster + 1]; row++)
      attend(shape, rows, row, task % shape.kv_heads, states, out);
  }
}

template <class T>
void attention_backward(int threads, int64_t tokens, const PackedRows &rows, const Shape &shape, const T *states,
                        const T *grad_out, T *grads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t task = 0; task < rows.clusters * shape.kv_heads; task++) {
    int64_t cluster = task / shape.kv_heads, kv = task % shape.kv_heads, ldd = padded(shape.d);
    int64_t base = rows.paths[rows.starts[rows.first[cluster]]];
    int64_t end = cluster + 1 < rows.clusters ? rows.paths[rows.starts[rows.first[cluster + 1]]] : tokens;
    std::vector<float> grad_keys((end - base) * ldd), grad_values((end - base) * ldd);
    for (int64_t row = rows.first[cluster]; row < rows.first[cluster + 1]; row++)
      attend_backward(shape, rows, row, kv, states, grad_out, grads, base, grad_keys.data(), grad_values.data());
    for (int64_t i = base; i < end; i++) {
      write_head(shape, grads, i, shape.heads + kv, true, &grad_keys[(i - base) * ldd]);
      write_head(shape, grads, i, shape.heads + shape.kv_heads + kv, false, &grad_values[(i - base) * ldd]);
    }
  }
}

}  // namespace
