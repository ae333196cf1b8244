/* Products of a few rows with packed weights.

   Weights [n, k] lie in panels of PANEL outputs.  A panel in float32 is [k, PANEL]; in bfloat16 it is
   [k / 32, 2, 16, PANEL / 2, 2], the tiles of AMX, k padded with zeros.  Each output is one sum over k in one order, which
   depends on neither the number of rows nor their place. */
#pragma once
#include "team.h"
#include "vector.h"
#if defined(__AMX_BF16__) || defined(__AVX512BF16__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define PANEL (2 * VL)
#define ROWS (VL == 16 ? 12 : 6)   /* of a block in float32: its sums fill the registers */
#define TILE_ROWS 32               /* of a block in bfloat16 */

typedef struct {
    const void *weight;  /* packed */
    const float *bias;   /* [n], or none */
    int64_t n, k;
} Matrix;

#ifdef __AVX512BF16__
#define HAS_BFLOAT16 1
#else
#define HAS_BFLOAT16 0
#endif

INLINE int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

INLINE void rows_f32(const float *x, int64_t stride, const float *w, int64_t k, float *out, const int rows) {
    V sums[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = (V){0};
    for (int64_t j = 0; j < k; j++) {
        V one = load(w + j * PANEL), two = load(w + j * PANEL + VL);
        __builtin_prefetch(w + (k + j) * PANEL); /* the next panel */
        __builtin_prefetch(w + (k + j) * PANEL + VL);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            V a = splat(x[i * stride + j]);
            sums[i][0] += a * one;
            sums[i][1] += a * two;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) { store(out + i * PANEL, sums[i][0]); store(out + i * PANEL + VL, sums[i][1]); }
}

/* out [rows, PANEL] of float32 rows and one panel */
static void panel_f32(const float *x, int64_t stride, const float *w, int64_t k, float *out, int rows) {
#define CASE(r) case r: rows_f32(x, stride, w, k, out, r); break;
    switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if VL == 16
    CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
#undef CASE
}

#ifdef __AMX_BF16__
/* Linux gives the tiles to a process that asks for them. */
static int tiles_allowed(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
static void tiles_on(void) {
    struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) { c.bytes[i] = 64; c.rows[i] = 16; }
    _tile_loadconfig(&c);
}
static void tiles_off(void) { _tile_release(); }

/* The same place of the next panel, two tiles of it. */
INLINE void fetch(const uint16_t *w) {
#pragma GCC unroll 32
    for (int i = 0; i < 32; i++) __builtin_prefetch(w + i * 32);
}

/* out [32, PANEL] of bfloat16 rows, of which there must be 32 (16 if few) to read, and one panel; k a multiple of 32 */
static void panel_bf16(const uint16_t *x, int64_t stride, const uint16_t *w, int64_t k, float *out, int rows) {
    _tile_zero(0); _tile_zero(1);
    if (rows <= 16) {
        for (int64_t j = 0; j < k; j += 32) {
            fetch(w + (k + j) * PANEL);
            _tile_loadd(4, x + j, stride * 2);
            _tile_loadd(6, w + j * PANEL, 64);
            _tile_loadd(7, w + j * PANEL + 512, 64);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7);
        }
    } else {
        _tile_zero(2); _tile_zero(3);
        for (int64_t j = 0; j < k; j += 32) {
            fetch(w + (k + j) * PANEL);
            _tile_loadd(4, x + j, stride * 2);
            _tile_loadd(5, x + 16 * stride + j, stride * 2);
            _tile_loadd(6, w + j * PANEL, 64);
            _tile_loadd(7, w + j * PANEL + 512, 64);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(2, out + 16 * PANEL, PANEL * 4); _tile_stored(3, out + 16 * PANEL + VL, PANEL * 4);
    }
    _tile_stored(0, out, PANEL * 4); _tile_stored(1, out + VL, PANEL * 4);
}
#else
static int tiles_allowed(void) { return 1; }
static void tiles_on(void) {}
static void tiles_off(void) {}
#ifdef __AVX512BF16__
INLINE void rows_bf16(const uint16_t *x, int64_t stride, const uint16_t *w, int64_t k, float *out, const int rows) {
    __m512 sums[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < k; j += 2) {
        const uint16_t *at = w + j / 32 * 32 * PANEL + j % 32 * 16;
        __m512bh one = (__m512bh)_mm512_loadu_si512(at), two = (__m512bh)_mm512_loadu_si512(at + 512);
        __builtin_prefetch(at + k * PANEL); /* the next panel */
        __builtin_prefetch(at + k * PANEL + 512);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, x + i * stride + j, 4);
            __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], a, one);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], a, two);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_storeu_ps(out + i * PANEL, sums[i][0]);
        _mm512_storeu_ps(out + i * PANEL + 16, sums[i][1]);
    }
}

static void panel_bf16(const uint16_t *x, int64_t stride, const uint16_t *w, int64_t k, float *out, int rows) {
#define CASE(r) case r: rows_bf16(x, stride, w, k, out, r); break;
    for (; rows > 0; rows -= ROWS, x += ROWS * stride, out += ROWS * PANEL)
        switch (rows < ROWS ? rows : ROWS) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
        }
#undef CASE
}
#else
static void panel_bf16(const uint16_t *x, int64_t stride, const uint16_t *w, int64_t k, float *out, int rows) {}
#endif
#endif

INLINE int block_rows(int half) { return half ? TILE_ROWS : ROWS; }

/* out [rows, PANEL] of one block of rows and panel p */
INLINE void product(const Matrix *m, int half, const void *x, int64_t stride, int64_t p, float *out, int rows) {
    if (half) {
        int64_t k = up_to(m->k, 32);
        panel_bf16((const uint16_t *)x, stride, (const uint16_t *)m->weight + p * k * PANEL, k, out, rows);
    } else panel_f32((const float *)x, stride, (const float *)m->weight + p * m->k * PANEL, m->k, out, rows);
}

INLINE const void *row_of(const void *x, int half, int64_t i, int64_t stride) {
    return half ? (const void *)((const uint16_t *)x + i * stride) : (const void *)((const float *)x + i * stride);
}

/* out [count, n] = x W^T + b, added to what is there if `add`.  All workers call it. */
static void multiply(Worker &worker, const Matrix *m, int half, const void *x, int64_t stride, int64_t count, float *out,
                     int64_t out_stride, int add) {
    const int size = block_rows(half);
    const int64_t blocks = (count + size - 1) / size, panels = (m->n + PANEL - 1) / PANEL;
    worker.share(blocks * panels, [&](int64_t task) {
        const int64_t p = task / blocks, first = task % blocks * size;
        const int rows = (int)(count - first < size ? count - first : size);
        const int64_t columns = m->n - p * PANEL < PANEL ? m->n - p * PANEL : PANEL;
        float found[TILE_ROWS * PANEL] __attribute__((aligned(64)));
        product(m, half, row_of(x, half, first, stride), stride, p, found, rows);
        for (int i = 0; i < rows; i++) {
            float *to = out + (first + i) * out_stride + p * PANEL, *from = found + i * PANEL;
            const float *bias = m->bias ? m->bias + p * PANEL : 0;
            if (columns == PANEL) {
                V one = load(from), two = load(from + VL);
                if (bias) { one += load(bias); two += load(bias + VL); }
                if (add) { one += load(to); two += load(to + VL); }
                store(to, one);
                store(to + VL, two);
            } else
                for (int j = 0; j < columns; j++) to[j] = from[j] + (bias ? bias[j] : 0) + (add ? to[j] : 0);
        }
    });
}
