/* The head and the draw in one: the logits of BLOCK tokens are made, weighed and forgotten, and those of the block that
   holds the draw are made again.  So the logits of a step are never stored, and nothing is left out. */
#pragma once
#include "decoder.h"

#define BLOCK 64

struct Draw {
    const float *states;     /* [count, width up to 32] */
    const double *uniforms;  /* [count] in [0, 1) */
    const uint8_t *young;    /* [count] rows that may not draw a banned token */
    const int64_t *banned;   /* [bans] */
    const float *bias;       /* [V] added to the logits drawn from, or none */
    int64_t *tokens;         /* [count] */
    float *logprobs, *sampling_logprobs; /* [count] */
    float *tops, *sums, *kept_tops, *kept_sums; /* [count, blocks up to VL] largest logit of a block and sum of its
                                                   weights, of all tokens and as drawn from */
    float *logits, *weights; /* [threads, count up to 32, BLOCK] and [threads, blocks up to VL] */
    int64_t count, bans;
    float temperature;       /* 0: the most probable token */
};

INLINE int64_t draw_blocks(const Model *m) { return (m->head.n + BLOCK - 1) / BLOCK; }

/* Logits [rows, BLOCK] of block b, divided by the temperature; -inf behind the vocabulary. */
static void block_logits(const Model *m, const Draw *d, int64_t b, int64_t first, int64_t count, float *out) {
    const int64_t stride = x_stride(m), n = m->head.n, end = b * BLOCK + BLOCK < n ? b * BLOCK + BLOCK : n;
    const int size = block_rows(m->half);
    for (int64_t p = b * (BLOCK / PANEL); p * PANEL < end; p++)
        for (int64_t i = 0; i < count; i += size) {
            const int rows = (int)(count - i < size ? count - i : size);
            float found[TILE_ROWS * PANEL] __attribute__((aligned(64)));
            product(&m->head, m->half, row_of(m->x, m->half, first + i, stride), stride, p, found, rows);
            for (int r = 0; r < rows; r++) memcpy(out + (i + r) * BLOCK + p * PANEL % BLOCK, found + r * PANEL, PANEL * 4);
        }
    const float *bias = m->head.bias;
    for (int64_t i = 0; i < count; i++) {
        float *row = out + i * BLOCK;
        if (bias) for (int64_t j = b * BLOCK; j < end; j++) row[j - b * BLOCK] += bias[j];
        if (d->temperature > 0.0f && d->temperature != 1.0f)
            for (int64_t j = 0; j < BLOCK; j += VL) store(row + j, load(row + j) / d->temperature);
        for (int64_t j = end - b * BLOCK; j < BLOCK; j++) row[j] = -INFINITY;
    }
}

/* Bias and bans, as what is drawn from has them.  Whether there were any. */
static int change(const Draw *d, int64_t b, int64_t i, int64_t vocabulary, float *row) {
    int changed = 0;
    if (d->bias) {
        const float t = d->temperature > 0.0f ? d->temperature : 1.0f;
        for (int64_t j = 0; j < BLOCK && b * BLOCK + j < vocabulary; j++) row[j] += d->bias[b * BLOCK + j] / t;
        changed = 1;
    }
    if (d->young[i])
        for (int64_t k = 0; k < d->bans; k++)
            if (d->banned[k] / BLOCK == b) { row[d->banned[k] % BLOCK] = -INFINITY; changed = 1; }
    return changed;
}

static void weights_of(const float *row, float *top, float *total) {
    V most = load(row), weights = {0};
    for (int64_t j = VL; j < BLOCK; j += VL) most = larger(most, load(row + j));
    *top = largest(most);
    *total = 0.0f;
    if (*top == -INFINITY) return;
    for (int64_t j = 0; j < BLOCK; j += VL) weights += exp_(load(row + j) - *top);
    *total = sum(weights);
}

static void weigh_block(const Model *m, const Draw *d, int64_t b, float *logits) {
    const int64_t stride = up_to(draw_blocks(m), VL);
    block_logits(m, d, b, 0, d->count, logits);
    for (int64_t i = 0; i < d->count; i++) {
        const int64_t at = i * stride + b;
        float *row = logits + i * BLOCK;
        weights_of(row, d->tops + at, d->sums + at);
        if (change(d, b, i, m->head.n, row)) weights_of(row, d->kept_tops + at, d->kept_sums + at);
        else { d->kept_tops[at] = d->tops[at]; d->kept_sums[at] = d->sums[at]; }
    }
}

/* The largest logit of all; the weights of all blocks beside it, and their total. */
static float weights_of_blocks(const float *tops, const float *sums, int64_t blocks, float *weights, double *total) {
    V most = load(tops);
    for (int64_t b = VL; b < blocks; b += VL) most = larger(most, load(tops + b));
    const float top = largest(most);
    for (int64_t b = 0; b < blocks; b += VL) store(weights + b, load(sums + b) * exp_(load(tops + b) - top));
    *total = 0;
    for (int64_t b = 0; b < blocks; b++) *total += weights[b];
    return top;
}

/* Where the cumulative sum of weights first exceeds the target: the last with any weight, where rounding leaves the
   target behind them all.  `below` becomes the sum before that place. */
static int64_t invert(const float *weights, int64_t count, double target, double *below) {
    int64_t place = 0;
    double passed = *below;
    for (int64_t j = 0; j < count; j++) {
        if (!(weights[j] > 0.0f)) continue;
        place = j;
        *below = passed;
        if (passed + weights[j] > target) break;
        passed += weights[j];
    }
    return place;
}

/* One row's token: the block of tokens first, then the token in it. */
static void choose(const Model *m, const Draw *d, int64_t i, float *row, float *weights) {
    const int64_t stride = up_to(draw_blocks(m), VL);
    double all, drawn, below = 0;
    const float most = weights_of_blocks(d->tops + i * stride, d->sums + i * stride, stride, weights, &all);
    const float top = weights_of_blocks(d->kept_tops + i * stride, d->kept_sums + i * stride, stride, weights, &drawn);
    const double target = d->uniforms[i] * drawn;
    int64_t block = 0, place = 0;
    if (d->temperature > 0.0f) block = invert(weights, stride, target, &below);
    else while (block < draw_blocks(m) - 1 && d->kept_tops[i * stride + block] != top) block++;
    float plain[BLOCK], kept[BLOCK];
    block_logits(m, d, block, i, 1, row);
    memcpy(plain, row, sizeof plain);
    change(d, block, i, m->head.n, row);
    if (d->temperature > 0.0f) {
        for (int64_t j = 0; j < BLOCK; j += VL) store(kept + j, exp_(load(row + j) - top));
        place = invert(kept, BLOCK, target, &below);
    } else while (place < BLOCK - 1 && row[place] != top) place++;
    d->tokens[i] = block * BLOCK + place;
    d->logprobs[i] = (float)((double)plain[place] - most - log(all));
    d->sampling_logprobs[i] = d->temperature > 0.0f ? (float)((double)row[place] - top - log(drawn)) : 0.0f;
}
