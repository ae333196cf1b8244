/* Vectors of floats, by the compiler's own vector types: as wide as this machine's, and the same code on all. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define VL 16
#else
#define VL 8
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(VL * 4)));
typedef int32_t I __attribute__((vector_size(VL * 4)));
typedef uint32_t U __attribute__((vector_size(VL * 4)));
typedef uint16_t H __attribute__((vector_size(VL * 2)));

INLINE V load(const float *p) { V v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, V v) { memcpy(p, &v, sizeof v); }
INLINE V splat(float x) { return x - (V){0}; }
INLINE V larger(V a, V b) { return a > b ? a : b; }
INLINE V smaller(V a, V b) { return a < b ? a : b; }

/* bfloat16 is the upper half of a float; rounded to nearest, ties to even. */
INLINE V load16(const uint16_t *p) { H h; memcpy(&h, p, sizeof h); return (V)(__builtin_convertvector(h, U) << 16); }
INLINE void store16(uint16_t *p, V v) {
    U bits = (U)v;
    H h = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, H);
    memcpy(p, &h, sizeof h);
}
INLINE uint16_t round16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Over the lanes of a vector, by halves. */
INLINE float sum(V v) {
    float lanes[VL];
    store(lanes, v);
    for (int half = VL / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}
INLINE float largest(V v) {
    float lanes[VL];
    store(lanes, v);
    for (int half = VL / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}

/* e^x within two units in the last place (Cephes' expf); 0 below the smallest normal number. */
INLINE V exp_(V x) {
    V low = splat(-87.3f);
    I above = x > low;
    x = smaller(larger(x, low), splat(88.3f));
    V n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    x = x - n * 0.693359375f;
    x = x + n * 2.12194440e-4f;
    V p = x * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    p = p * (x * x) + x + 1.0f;
    I power = __builtin_convertvector(n, I) << 23;
    return (V)(((I)p + power) & above);
}

/* erf within 1.5e-7 (Abramowitz and Stegun 7.1.26). */
INLINE V erf_(V x) {
    V a = larger(x, -x), t = 1.0f / (1.0f + 0.3275911f * a);
    V p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    V y = 1.0f - p * exp_(-a * a);
    return x < 0.0f ? -y : y;
}

enum { SILU, GELU_TANH, GELU, RELU };

INLINE V activation(V x, int kind) {
    switch (kind) {
    case SILU: return x / (1.0f + exp_(-x));
    case GELU_TANH: return x / (1.0f + exp_(-1.5957691216f * (x + 0.044715f * x * x * x)));
    case GELU: return 0.5f * x * (1.0f + erf_(x * 0.70710678f));
    default: return larger(x, splat(0.0f));
    }
}
