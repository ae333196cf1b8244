/* Decoding on a CPU.  Python calls these with addresses of tensors that it keeps (native/decoder.py).

   A row's numbers are the same, bit for bit, whatever the other rows are and however many threads there are: each sum
   has one order, which depends on the row alone. */
#include "decoder.h"
#include "draw.h"

extern "C" {

/* How wide a vector is, and whether products in bfloat16 are there. */
int64_t vector_length(void) { return VL; }
int64_t has_bfloat16(void) { return HAS_BFLOAT16 && tiles_allowed(); }

/* Numbers of one head's keys and values in one slot, for each position. */
int64_t head_numbers(int64_t head_dim) { return head_dim + up_to(head_dim, VL); }

/* Weights [n, k], of which row and column stand `row` and `column` numbers apart, into panels. */
void pack(const float *w, int64_t row, int64_t column, int64_t n, int64_t k, void *out, int half, int threads) {
    const int64_t deep = half ? up_to(k, 32) : k;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t p = 0; p < (n + PANEL - 1) / PANEL; p++)
        for (int64_t i = 0; i < PANEL; i++) {
            const int64_t at = p * PANEL + i;
            for (int64_t j = 0; j < deep; j++) {
                const float v = at < n && j < k ? w[at * row + j * column] : 0.0f;
                if (half) {
                    const int64_t tile = (j / 32 * 2 + i / 16) * 512, in = j % 32 / 2 * 32 + i % 16 * 2 + j % 2;
                    ((uint16_t *)out + p * deep * PANEL)[tile + in] = round16(v);
                } else ((float *)out + p * deep * PANEL)[j * PANEL + i] = v;
            }
        }
}

/* The trunk: states [count, width up to 32] in place.  Rows of one call may stand in one slot, at different positions:
   each sees what stands there up to its own. */
void forward(const Model *m, int64_t count, const int64_t *slots, const int64_t *positions, float *states) {
    const int64_t wide = padded(m->width), qkv = padded(qkv_size(m)), stride = x_stride(m);
    together(m->threads, m->depth * 9, [&](Worker worker) {
        if (m->half) tiles_on();
        float *scores = m->scores + worker.number * m->length;
        for (int64_t index = 0; index < m->depth; index++) {
            const Layer *layer = m->layers + index;
            worker.share(count, [&](int64_t i) {
                normalise(m, &layer->attention_norm, states + i * wide, m->x, i);
                if (m->parallel) normalise(m, &layer->mlp_norm, states + i * wide, m->y, i);
            });
            multiply(worker, &layer->qkv, m->half, m->x, stride, count, m->qkv, qkv, 0);
            worker.share(count, [&](int64_t i) { remember(m, index, m->qkv + i * qkv, slots[i], positions[i]); });
            worker.share(count * m->kv_heads, [&](int64_t task) {
                const int64_t i = task / m->kv_heads;
                attend_row(m, index, i, task % m->kv_heads, slots[i], positions[i], scores);
            });
            multiply(worker, &layer->out, m->half, m->x, stride, count, states, wide, 1);
            if (!m->parallel)
                worker.share(count, [&](int64_t i) { normalise(m, &layer->mlp_norm, states + i * wide, m->y, i); });
            multiply(worker, &layer->up, m->half, m->y, stride, count, m->up, padded(layer->up.n), 0);
            worker.share(count, [&](int64_t i) { activate(m, layer, i); });
            multiply(worker, &layer->down, m->half, m->x, stride, count, states, wide, 1);
        }
        if (m->half) tiles_off();
    });
}

/* Copy the first `count` positions of a slot to another. */
void copy_slot(const Model *m, int64_t source, int64_t target, int64_t count) {
    const int64_t bytes = m->half ? 2 : 4, keys = up_to(count, VL) * m->head_dim * bytes;
    const int64_t values = m->length * m->head_dim * bytes, size = count * value_size(m) * bytes;
    for (int64_t index = 0; index < m->depth; index++)
        for (int64_t h = 0; h < m->kv_heads; h++) {
            const char *from = head_cache(m, index, source, h);
            char *to = head_cache(m, index, target, h);
            memcpy(to, from, keys);
            memcpy(to + values, from + values, size);
        }
}

/* Logits [count, V] of states. */
void logits(const Model *m, int64_t count, const float *states, float *out) {
    together(m->threads, 2, [&](Worker worker) {
        if (m->half) tiles_on();
        worker.share(count, [&](int64_t i) { normalise(m, &m->norm, states + i * padded(m->width), m->x, i); });
        multiply(worker, &m->head, m->half, m->x, x_stride(m), count, out, m->head.n, 0);
        if (m->half) tiles_off();
    });
}

/* One token a row, and its log-probabilities under temperature alone and under what was drawn from; see draw.h. */
void draw(const Model *m, const Draw *d) {
    together(m->threads, 3, [&](Worker worker) {
        if (m->half) tiles_on();
        float *logits = d->logits + worker.number * up_to(d->count, TILE_ROWS) * BLOCK;
        float *weights = d->weights + worker.number * up_to(draw_blocks(m), VL);
        worker.share(d->count, [&](int64_t i) { normalise(m, &m->norm, d->states + i * padded(m->width), m->x, i); });
        worker.share(draw_blocks(m), [&](int64_t b) { weigh_block(m, d, b, logits); });
        worker.share(d->count, [&](int64_t i) { choose(m, d, i, logits, weights); });
        if (m->half) tiles_off();
    });
}
}
