// The passes between matrix products that PyTorch would make as several, each a trip through memory: here one each.
// Every function has the same in PyTorch beside it in kernels.py, and a test holds the two together.
// Rows go to threads whole and are summed in one order, so results do not depend on the number of threads.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <algorithm>

#define PARALLEL _Pragma("omp parallel for schedule(static) num_threads(threads)")

namespace {

typedef uint16_t bf16;

inline float load(const float *p) { return *p; }
inline float load(const bf16 *p) {
  uint32_t bits = uint32_t(*p) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline void store(float *p, float x) { *p = x; }
inline void store(bf16 *p, float x) {  // to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *p = bf16(x != x ? 0x7fc0u : rounded);
}

// e^x to 1 ulp or so; 0 below -87, e^88 from 88 up.  Free of branches, so that loops over it become vector code.
inline float exp_(float x) {
  const float lowest = -87.0f, highest = 88.0f, magic = 12582912.0f;  // 1.5 * 2^23 rounds to an integer
  float y = x < lowest ? lowest : x > highest ? highest : x;
  float n = (y * 1.44269504f + magic) - magic;
  float r = y - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &p, 4);
  bits += int32_t(n) << 23;
  std::memcpy(&p, &bits, 4);
  return x < lowest ? 0.0f : p;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }

}  // namespace

#include "attention.h"

namespace {

template <class T>
void add_norm(int threads, int64_t rows, int64_t d, const float *x, const T *delta, const float *weight,
              const float *bias, float eps, bool rms, float *sum, T *out, float *mean, float *rstd) {
  PARALLEL
  for (int64_t i = 0; i < rows; i++) {
    const float *a = x + i * d;
    float *s = sum + i * d;
    float total = 0, squares = 0;
    if (delta) {
      const T *b = delta + i * d;
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < d; j++) { s[j] = a[j] + load(b + j); total += s[j]; }
    } else {
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < d; j++) { s[j] = a[j]; total += s[j]; }
    }
    float m = rms ? 0.0f : total / d;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < d; j++) squares += (s[j] - m) * (s[j] - m);
    float r = 1.0f / std::sqrt(squares / d + eps);
    mean[i] = m;
    rstd[i] = r;
    T *o = out + i * d;
    if (bias) {
#pragma omp simd
      for (int64_t j = 0; j < d; j++) store(o + j, (s[j] - m) * r * weight[j] + bias[j]);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < d; j++) store(o + j, (s[j] - m) * r * weight[j]);
    }
  }
}

// grad_sum += what came from later; grad_weight and grad_bias [blocks, d], a block of rows each, are summed by the caller
template <class T>
void add_norm_backward(int threads, int64_t rows, int64_t d, int64_t block, const float *sum, const float *mean,
                       const float *rstd, const float *weight, const T *grad_out, bool rms, float *grad_sum,
                       float *grad_weight, float *grad_bias) {
  int64_t blocks = (rows + block - 1) / block;
  PARALLEL
  for (int64_t b = 0; b < blocks; b++) {
    float *gw = grad_weight + b * d, *gb = grad_bias + b * d;
    for (int64_t i = b * block; i < std::min(rows, (b + 1) * block); i++) {
      const float *s = sum + i * d;
      const T *g = grad_out + i * d;
      float *out = grad_sum + i * d;
      float m = mean[i], r = rstd[i], dot = 0, total = 0;
#pragma omp simd reduction(+ : dot, total)
      for (int64_t j = 0; j < d; j++) {
        float t = load(g + j) * weight[j], xhat = (s[j] - m) * r;
        dot += t * xhat;
        total += t;
        gw[j] += load(g + j) * xhat;
        gb[j] += load(g + j);
      }
      dot /= d;
      total = rms ? 0.0f : total / d;
#pragma omp simd
      for (int64_t j = 0; j < d; j++) out[j] += r * (load(g + j) * weight[j] - total - (s[j] - m) * r * dot);
    }
  }
}

template <class T>
void gate(int threads, int64_t rows, int64_t d, const T *both, T *out) {
  PARALLEL
  for (int64_t i = 0; i < rows; i++) {
    const T *g = both + 2 * i * d, *u = g + d;
    T *o = out + i * d;
#pragma omp simd
    for (int64_t j = 0; j < d; j++) { float x = load(g + j); store(o + j, x * sigmoid(x) * load(u + j)); }
  }
}

// and silu(g) * u again, which the gradient of the projection behind it wants
template <class T>
void gate_backward(int threads, int64_t rows, int64_t d, const T *both, const T *grad, T *grad_both, T *gated) {
  PARALLEL
  for (int64_t i = 0; i < rows; i++) {
    const T *g = both + 2 * i * d, *u = g + d, *o = grad + i * d;
    T *gg = grad_both + 2 * i * d, *gu = gg + d, *h = gated + i * d;
#pragma omp simd
    for (int64_t j = 0; j < d; j++) {
      float x = load(g + j), s = sigmoid(x), y = load(o + j), up = load(u + j);
      store(h + j, x * s * up);
      store(gu + j, y * x * s);
      store(gg + j, y * up * s * (1.0f + x * (1.0f - s)));
    }
  }
}

// Columns of the vocabulary at a time: per row the maximum m so far, the sum of e^(z - m), and the sum of
// (z - m) e^(z - m) (for the entropy, where wanted).
template <class T>
void lse_update(int threads, int64_t rows, int64_t columns, const T *logits, float scale, float *peak, float *sum,
                float *moment) {
  PARALLEL
  for (int64_t i = 0; i < rows; i++) {
    const T *z = logits + i * columns;
    float top = -INFINITY, total = 0, weighted = 0;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < columns; j++) { float x = load(z + j) * scale; top = x > top ? x : top; }
    float now = std::max(top, peak[i]);
    if (moment) {
#pragma omp simd reduction(+ : total, weighted)
      for (int64_t j = 0; j < columns; j++) {
        float x = load(z + j) * scale - now, e = exp_(x);
        total += e;
        weighted += e * x;
      }
    } else {
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < columns; j++) total += exp_(load(z + j) * scale - now);
    }
    float kept = std::exp(peak[i] - now);
    if (moment) moment[i] = (sum[i] > 0 ? (moment[i] + sum[i] * (peak[i] - now)) * kept : 0.0f) + weighted;
    sum[i] = sum[i] * kept + total;
    peak[i] = now;
  }
}

// d loss / d logits of these columns in place: -p (g + h (log p + H)) with g on the target, all times the scale
template <class T>
void logits_gradient(int threads, int64_t rows, int64_t columns, int64_t first, T *logits, float scale,
                     const float *normaliser, const int64_t *targets, const float *grad, const float *entropy,
                     const float *grad_entropy) {
  PARALLEL
  for (int64_t i = 0; i < rows; i++) {
    T *z = logits + i * columns;
    float lse = normaliser[i], g = grad[i];
    int64_t target = targets[i] - first;
    bool here = target >= 0 && target < columns;
    float h = entropy ? grad_entropy[i] : 0.0f, mean = entropy ? entropy[i] : 0.0f;
    float log_p = here ? load(z + target) * scale - lse : 0.0f;
    float at_target = (g - exp_(log_p) * (g + h * (log_p + mean))) * scale;
    if (h != 0.0f) {
#pragma omp simd
      for (int64_t j = 0; j < columns; j++) {
        float l = load(z + j) * scale - lse;
        store(z + j, -exp_(l) * (g + h * (l + mean)) * scale);
      }
    } else {
      float factor = -g * scale;
#pragma omp simd
      for (int64_t j = 0; j < columns; j++) store(z + j, exp_(load(z + j) * scale - lse) * factor);
    }
    if (here) store(z + target, at_target);
  }
}

}  // namespace

extern "C" {

#define FOR_BOTH(SUFFIX, T)                                                                                            \
  void add_norm_##SUFFIX(int threads, int64_t rows, int64_t d, const float *x, const T *delta, const float *weight,    \
                         const float *bias, float eps, int rms, float *sum, T *out, float *mean, float *rstd) {        \
    add_norm(threads, rows, d, x, delta, weight, bias, eps, rms != 0, sum, out, mean, rstd);                           \
  }                                                                                                                    \
  void add_norm_backward_##SUFFIX(int threads, int64_t rows, int64_t d, int64_t block, const float *sum,               \
                                  const float *mean, const float *rstd, const float *weight, const T *grad_out,        \
                                  int rms, float *grad_sum, float *grad_weight, float *grad_bias) {                    \
    add_norm_backward(threads, rows, d, block, sum, mean, rstd, weight, grad_out, rms != 0, grad_sum, grad_weight,     \
                      grad_bias);                                                                                      \
  }                                                                                                                    \
  void gate_##SUFFIX(int threads, int64_t rows, int64_t d, const T *both, T *out) {                                    \
    gate(threads, rows, d, both, out);                                                                                 \
  }                                                                                                                    \
  void gate_backward_##SUFFIX(int threads, int64_t rows, int64_t d, const T *both, const T *grad, T *grad_both,        \
                              T *gated) {                                                                              \
    gate_backward(threads, rows, d, both, grad, grad_both, gated);                                                     \
  }                                                                                                                    \
  void attention_##SUFFIX(int threads, int64_t clusters, const int64_t *first, const int64_t *starts,                  \
                          const int64_t *paths, const int64_t *shared, int64_t heads, int64_t kv_heads, int64_t d,     \
                          int64_t half, float scale, const float *turns, const T *states, T *out) {                    \
    attention(threads, {clusters, first, starts, paths, shared}, {heads, kv_heads, d, half, scale, turns}, states, out);\
  }                                                                                                                    \
  void attention_backward_##SUFFIX(int threads, int64_t tokens, int64_t clusters, const int64_t *first,                \
                                   const int64_t *starts, const int64_t *paths, const int64_t *shared, int64_t heads,  \
                                   int64_t kv_heads, int64_t d, int64_t half, float scale, const float *turns,         \
                                   const T *states, const T *grad_out, T *grads) {                                     \
    attention_backward(threads, tokens, {clusters, first, starts, paths, shared},                                      \
                       {heads, kv_heads, d, half, scale, turns}, states, grad_out, grads);                             \
  }                                                                                                                    \
  void lse_update_##SUFFIX(int threads, int64_t rows, int64_t columns, const T *logits, float scale, float *peak,      \
                           float *sum, float *moment) {                                                                \
    lse_update(threads, rows, columns, logits, scale, peak, sum, moment);                                              \
  }                                                                                                                    \
  void logits_gradient_##SUFFIX(int threads, int64_t rows, int64_t columns, int64_t first, T *logits, float scale,     \
                                const float *normaliser, const int64_t *targets, const float *grad,                    \
                                const float *entropy, const float *grad_entropy) {                                     \
    logits_gradient(threads, rows, columns, first, logits, scale, normaliser, targets, grad, entropy, grad_entropy);   \
  }

FOR_BOTH(f32, float)
FOR_BOTH(bf16, bf16)
}
