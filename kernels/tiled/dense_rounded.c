/* A dense layer on one row through L1: tiles of whole rows of w, while DMA brings the next.
 *
 * L1 holds x, then two tiles. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_rounded)
#include "../dense_rounded.c"
#include "tiled/l1.h"

/* Bytes of a tile: at least, so that its transfer is worth the start of one, and at most. */
enum { LEAST = 4096, MOST = 24576, ROWS = 8 };

MCT_INLINE uint32_t pack(float low, float high) {
    uint32_t packed;
    MCT_XPULP_OP(0x33, 2, 0x58, packed, low, high);
    return packed;
}

/* sum[r] = x . row r of w, for two rows */
static void two_rows(float sum[2], const mct_elem *x, const float *w, uint32_t depth) {
    const float *v = w + depth;
    float s = 0, t = 0;
#pragma clang loop unroll_count(4)
    for (uint32_t k = 0; k < depth; k += 2) {
        const float w0 = w[k], w1 = w[k + 1], v0 = v[k], v1 = v[k + 1];
        const mct_pair u = mct_load(x + k);
        s = mct_dot(s, u, pack(w0, w1));
        t = mct_dot(t, u, pack(v0, v1));
    }
    sum[0] = s, sum[1] = t;
}

static float one_row(const mct_elem *x, const float *w, uint32_t depth) {
    float s = 0;
#pragma clang loop unroll_count(4)
    for (uint32_t k = 0; k < depth; k += 2) {
        const float w0 = w[k], w1 = w[k + 1];
        s = mct_dot(s, mct_load(x + k), pack(w0, w1));
    }
    return s;
}

void MCT_TILED(dense_rounded)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_rounded *d = args;
    const uint32_t row = d->depth * sizeof(float);
    if (d->depth % 2 || d->depth == 0 || ROWS * row > MOST) {
        mct_any_shape_dense_rounded(args, worker, workers);
        return;
    }
    const uint32_t rows = (LEAST / (ROWS * row) + (LEAST < ROWS * row)) * ROWS,
                   tiles = mct_ceil_div(d->columns, rows);
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    struct mct_l1 room = mct_l1_all();
    mct_elem *x = mct_l1_take(&room, d->depth * sizeof(mct_elem)), *y = d->y;
    float *w[2];
    for (uint32_t i = 0; i < 2; i++)
        w[i] = mct_l1_take(&room, rows * row);
    uint32_t group = 0;
    if (worker == 0) {
        group = mct_dma_begin();
        mct_l1_in(x, d->x, d->depth * sizeof(mct_elem));
        mct_l1_in(w[0], d->w, mct_min(rows, d->columns) * row);
    }
    for (uint32_t tile = 0; tile < tiles; tile++) {
        const uint32_t column = tile * rows, count = mct_min(rows, d->columns - column);
        if (worker == 0)
            mct_dma_wait(group);
        mct_barrier();
        if (worker == 0 && tile + 1 < tiles) {
            group = mct_dma_begin();
            mct_l1_in(w[(tile + 1) % 2], d->w + (column + rows) * d->depth,
                      mct_min(rows, d->columns - column - rows) * row);
        }
        uint32_t r, last;
        mct_split(count, worker, workers, &r, &last);
        const float *at = w[tile % 2] + r * d->depth;
        for (; r + 2 <= last; r += 2, at += 2 * d->depth) {
            float sum[2];
            two_rows(sum, x, at, d->depth);
            y[column + r] = mct_finished(sum[0], &finish, column + r);
            y[column + r + 1] = mct_finished(sum[1], &finish, column + r + 1);
        }
        if (r < last)
            y[column + r] = mct_finished(one_row(x, at, d->depth), &finish, column + r);
    }
}
#else
#include "../dense_rounded.c"
#endif
