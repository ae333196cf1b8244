/* The model, the row of a step, and one forward pass of any number of rows. */
#pragma once
#include "matmul.h"

struct Norm {
    const float *weight, *bias; /* [d]; a layer norm has a bias, an RMS norm none */
    float eps;
    int32_t layer;
};

struct Layer {
    Norm attention_norm, mlp_norm;
    Matrix qkv, out, up, down;
    const float *head_norm; /* [H + Hkv, D] of queries and keys, or none */
    float head_eps, scale;
};

struct Model {
    const Layer *layers;
    Norm norm;
    Matrix head;
    const float *turns;  /* [T, D] cos and sin of neighbouring coordinates, or none */
    char *cache;         /* [layers, slots, Hkv] of one head's keys and values */
    float *qkv, *up;     /* work space of `rows` rows */
    char *x, *y;         /* the same, as the products read them */
    float *scores;       /* [threads, length] */
    int64_t depth, width, heads, kv_heads, head_dim, slots, length;
    int32_t half, activation, gated, parallel, threads;
};

/* Rows of the work space: a multiple of 32 numbers, the last of them zero. */
INLINE int64_t padded(int64_t n) { return up_to(n, 32); }
INLINE int64_t qkv_size(const Model *m) { return (m->heads + 2 * m->kv_heads) * m->head_dim; }
INLINE int64_t x_stride(const Model *m) {
    int64_t k = m->width > m->heads * m->head_dim ? m->width : m->heads * m->head_dim;
    return padded(k > m->layers->down.k ? k : m->layers->down.k);
}
INLINE int64_t value_size(const Model *m) { return up_to(m->head_dim, VL); }

/* One head's keys lie in blocks of VL positions, [length / VL, D, VL], its values behind them, [length, D up to VL]. */
INLINE char *head_cache(const Model *m, int64_t layer, int64_t slot, int64_t head) {
    int64_t numbers = m->length * (m->head_dim + value_size(m));
    return m->cache + ((layer * m->slots + slot) * m->kv_heads + head) * numbers * (m->half ? 2 : 4);
}

INLINE void put(const Model *m, char *rows, int64_t row, int64_t stride, int64_t j, V v) {
    if (m->half) store16((uint16_t *)rows + row * stride + j, v);
    else store((float *)rows + row * stride + j, v);
}

/* Weight and bias are padded with zeros to a multiple of VL, and so is x: what is written behind d is zero. */
static void normalise(const Model *m, const Norm *norm, const float *x, char *out, int64_t row) {
    const int64_t d = m->width, stride = x_stride(m);
    float mean = 0, square = 0;
    if (norm->layer) {
        V total = {0};
        for (int64_t j = 0; j < d; j += VL) total += load(x + j);
        mean = sum(total) / d;
    }
    V total = {0};
    int64_t j = 0;
    for (; j + VL <= d; j += VL) { V c = load(x + j) - mean; total += c * c; }
    square = sum(total);
    for (; j < d; j++) square += (x[j] - mean) * (x[j] - mean);
    const float scale = 1.0f / sqrtf(square / d + norm->eps);
    for (j = 0; j < d; j += VL) {
        V v = (load(x + j) - mean) * scale * load(norm->weight + j);
        put(m, out, row, stride, j, norm->layer ? v + load(norm->bias + j) : v);
    }
}

/* Turn queries and keys of one row, and put keys and values into the cache. */
static void remember(const Model *m, int64_t index, float *qkv, int64_t slot, int64_t position) {
    const Layer *layer = m->layers + index;
    const int64_t size = m->head_dim;
    for (int64_t h = 0; h < m->heads + m->kv_heads; h++) {
        float *head = qkv + h * size;
        if (layer->head_norm) {
            float square = 0;
            for (int64_t j = 0; j < size; j++) square += head[j] * head[j];
            const float scale = 1.0f / sqrtf(square / size + layer->head_eps);
            for (int64_t j = 0; j < size; j++) head[j] = head[j] * scale * layer->head_norm[h * size + j];
        }
        if (m->turns) {
            const float *turn = m->turns + position * size;
            for (int64_t j = 0; j < size; j += 2) {
                const float a = head[j], b = head[j + 1];
                head[j] = a * turn[j] - b * turn[j + 1];
                head[j + 1] = a * turn[j + 1] + b * turn[j];
            }
        }
    }
    for (int64_t h = 0; h < m->kv_heads; h++) {
        const float *key = qkv + (m->heads + h) * size, *value = key + m->kv_heads * size;
        char *cache = head_cache(m, index, slot, h);
        const int64_t at = position / VL * VL * size + position % VL, behind = m->length * size + position * value_size(m);
        if (m->half) {
            uint16_t *c = (uint16_t *)cache;
            for (int64_t j = 0; j < size; j++) c[at + j * VL] = round16(key[j]);
            for (int64_t j = 0; j < size; j++) c[behind + j] = round16(value[j]);
        } else {
            float *c = (float *)cache;
            for (int64_t j = 0; j < size; j++) c[at + j * VL] = key[j];
            for (int64_t j = 0; j < size; j++) c[behind + j] = value[j];
        }
    }
}

INLINE V read(const float *p) { return load(p); }
INLINE V read(const uint16_t *p) { return load16(p); }

/* Weighted sum of `count` values of N vectors each; even and odd ones apart. */
template <int N, typename T>
static void weigh(const T *values, const float *weights, int64_t count, float *out) {
    V even[N], odd[N];
    for (int i = 0; i < N; i++) even[i] = odd[i] = (V){0};
    int64_t t = 0;
    for (; t + 1 < count; t += 2) {
        const V a = splat(weights[t]), b = splat(weights[t + 1]);
        for (int i = 0; i < N; i++) {
            even[i] += a * read(values + i * VL);
            odd[i] += b * read(values + (N + i) * VL);
        }
        values += 2 * N * VL;
    }
    if (t < count)
        for (int i = 0; i < N; i++) even[i] += splat(weights[t]) * read(values + i * VL);
    for (int i = 0; i < N; i++) store(out + i * VL, even[i] + odd[i]);
}

/* Scores of one query against four blocks of keys at a time: a block's scores depend on no other block. */
template <int BLOCKS, typename T>
INLINE void score(const float *query, const T *keys, int64_t size, float scale, float *out) {
    V sums[BLOCKS];
    for (int b = 0; b < BLOCKS; b++) sums[b] = (V){0};
    for (int64_t j = 0; j < size; j++) {
        const V q = splat(query[j]);
        for (int b = 0; b < BLOCKS; b++) sums[b] += q * read(keys + (b * size + j) * VL);
    }
    for (int b = 0; b < BLOCKS; b++) store(out + b * VL, sums[b] * scale);
}

/* out [D up to VL] of one query over the first `count` positions of one head */
template <typename T>
static void attend(const Model *m, const float *query, float scale, const T *cache, int64_t count, float *scores,
                   float *out) {
    const int64_t size = m->head_dim, blocks = (count + VL - 1) / VL;
    int64_t b = 0;
    for (; b + 4 <= blocks; b += 4) score<4>(query, cache + b * size * VL, size, scale, scores + b * VL);
    for (; b < blocks; b++) score<1>(query, cache + b * size * VL, size, scale, scores + b * VL);
    for (int64_t t = count; t < blocks * VL; t++) scores[t] = -INFINITY;
    V top = load(scores), total = {0};
    for (b = 1; b < blocks; b++) top = larger(top, load(scores + b * VL));
    const float most = largest(top);
    for (b = 0; b < blocks; b++) {
        const V p = exp_(load(scores + b * VL) - most);
        total += p;
        store(scores + b * VL, p);
    }
    const T *values = cache + m->length * size;
    switch (value_size(m) / VL) {
#define CASE(n) case n: weigh<n>(values, scores, count, out); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(10) CASE(12) CASE(14) CASE(16)
#undef CASE
    }
    const float share = 1.0f / sum(total);
    for (int64_t j = 0; j < value_size(m); j += VL) store(out + j, load(out + j) * share);
}

static void attend_row(const Model *m, int64_t index, int64_t row, int64_t head, int64_t slot, int64_t position,
                       float *scores) {
    const int64_t group = m->heads / m->kv_heads, size = m->head_dim;
    const char *cache = head_cache(m, index, slot, head);
    const float scale = m->layers[index].scale;
    float out[16 * VL];
    for (int64_t h = head * group; h < (head + 1) * group; h++) {
        const float *query = m->qkv + row * padded(qkv_size(m)) + h * size;
        if (m->half) attend(m, query, scale, (const uint16_t *)cache, position + 1, scores, out);
        else attend(m, query, scale, (const float *)cache, position + 1, scores, out);
        const int64_t at = row * x_stride(m) + h * size;
        if (m->half) for (int64_t j = 0; j < size; j++) ((uint16_t *)m->x)[at + j] = round16(out[j]);
        else memcpy((float *)m->x + at, out, size * 4);
    }
}

/* x = act(gate) * up, or act(up) */
static void activate(const Model *m, const Layer *layer, int64_t row) {
    const int64_t n = layer->down.k, stride = x_stride(m);
    const float *up = m->up + row * padded(layer->up.n);
    int64_t j = 0;
    for (; j + VL <= n; j += VL) {
        V v = activation(load(up + j), m->activation);
        put(m, m->x, row, stride, j, m->gated ? v * load(up + n + j) : v);
    }
    if (j == n) return;
    float rest[VL] = {0}, other[VL] = {0};
    memcpy(rest, up + j, (n - j) * 4);
    V v = activation(load(rest), m->activation);
    if (m->gated) { memcpy(other, up + n + j, (n - j) * 4); v *= load(other); }
    for (int64_t i = n - j; i < VL; i++) v[i] = 0;
    put(m, m->x, row, stride, j, v);
}
