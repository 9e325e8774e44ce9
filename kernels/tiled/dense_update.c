/* A dense layer's backward pass and descent through L1: each weight comes once and goes once.
 *
 * A worker has columns of w to itself, which go through its part of L1 in tiles of an even number of rows:
 * one comes, one is worked on in place, one goes, by one group of transfers a worker. L1 holds x, dy, x as
 * binary32, q and the bias for all, then each worker's sums of dx and three tiles. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_update)
#include "../dense_update.c"
#include "simd/descent_xpulp.h"
#include "tiled/l1.h"

enum { TILES = 3, MOST_ROWS = 16 };

struct walk {
    const struct mct_dense_update *d;
    mct_elem *x, *dy;
    float *wide_x, *q, *bias, *sum, *tile[TILES];
    volatile uint32_t *bad;
    uint32_t column, columns; /* this worker's */
    uint32_t rows;            /* of a tile */
};

/* False: even the smallest tiles are too large. */
static bool plan(struct walk *k, const struct mct_dense_update *d, uint32_t worker, uint32_t workers) {
    struct mct_l1 room = mct_l1_all();
    uint32_t block, last, most = mct_ceil_div(d->depth / 4, workers) * 4 * sizeof(float);
    mct_split(d->depth / 4, worker, workers, &block, &last);
    *k = (struct walk){.d = d, .column = 4 * block, .columns = 4 * (last - block)};
    k->x = mct_l1_take(&room, d->depth * sizeof(mct_elem));
    k->dy = mct_l1_take(&room, d->columns * sizeof(mct_elem));
    k->wide_x = mct_l1_take(&room, (d->depth + 1) * sizeof(float));
    k->q = mct_l1_take(&room, (d->columns + 2) * sizeof(float));
    k->bias = mct_l1_take(&room, d->columns * sizeof(float));
    k->bad = mct_l1_take(&room, sizeof *k->bad);
    if (!k->x || !k->dy || !k->wide_x || !k->q || !k->bias || !k->bad)
        return false;
    const uint32_t part = room.left / workers / 16 * 16;
    if (part < most * (1 + TILES * 2))
        return false;
    k->rows = mct_min(mct_min((part - most) / (TILES * most), MOST_ROWS) / 2 * 2, d->columns);
    k->sum = (float *)(void *)(room.at + worker * part);
    for (uint32_t i = 0; i < TILES; i++)
        k->tile[i] = k->sum + most / sizeof(float) * (1 + i * k->rows);
    return true;
}

/* Begins to bring or send the tile that begins with a row. */
static void move(const struct walk *k, uint32_t row, float *tile, bool in) {
    float *w = k->d->w + row * k->d->depth + k->column;
    const uint32_t rows = mct_min(k->rows, k->d->columns - row), bytes = k->columns * sizeof(float);
    if (in)
        mct_dma_in_rows(tile, w, rows, bytes, k->d->depth * sizeof(float));
    else
        mct_dma_out_rows(w, tile, rows, bytes, k->d->depth * sizeof(float));
}

/* Whether a share of pairs holds an infinity or a NaN. */
static uint32_t not_finite(const mct_elem *x, uint32_t count, uint32_t worker, uint32_t workers) {
    uint32_t i, last, found = 0;
    mct_split(count / 2, worker, workers, &i, &last);
    for (; i < last; i++) {
        const uint32_t exponents = mct_xpulp_word(x + 2 * i) & 0x7c007c00u;
        /* an exponent of ones carries into the sign */
        found |= (exponents + 0x04000400u) & 0x80008000u;
    }
    return found;
}

/* Binary32 copies, the bias, and whether there is anything to be done. */
static void prepare(const struct walk *k, float step, float keep, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update *d = k->d;
    uint32_t i, last;
    if (not_finite(k->x, d->depth, worker, workers) | not_finite(k->dy, d->columns, worker, workers))
        *k->bad = 1;
    mct_split(d->depth, worker, workers, &i, &last);
    for (; i < last; i++)
        k->wide_x[i] = mct_widen(k->x[i]);
    mct_split(d->columns, worker, workers, &i, &last);
    for (; i < last; i++) {
        k->q[i] = step * mct_widen(k->dy[i]);
        k->bias[i] = keep * k->bias[i] - k->q[i];
    }
}

/* Columns of a tile with a decay, which is seldom: sums of dx first, as they are made of the old weights. */
static __attribute__((noinline)) void decay(const struct mct_x_descent *d, float keep) {
    for (uint32_t r = 0; r < d->rows; r += 2) {
        float *w = (float *)(void *)((uint8_t *)d->w + r * d->pitch);
        float *v = (float *)(void *)((uint8_t *)w + d->pitch);
        for (uint32_t c = 0; c < 4 * d->blocks; c++) {
            uint32_t pair;
            MCT_XPULP_OP(0x33, 2, 0x58, pair, w[c], v[c]);
            d->sum[c] = mct_dot(d->sum[c], mct_load(d->dy + r), pair);
            w[c] *= keep;
            v[c] *= keep;
        }
    }
}

/* A tile of a worker's columns. */
static void descend(const struct walk *k, uint32_t row, float *tile, float keep) {
    const uint32_t rows = mct_min(k->rows, k->d->columns - row);
    const struct mct_x_descent part = {.q = k->q + row,
                                       .dy = k->dy + row,
                                       .w = tile,
                                       .x = k->wide_x + k->column,
                                       .sum = k->sum,
                                       .pitch = k->columns * sizeof(float),
                                       .rows = rows,
                                       .blocks = k->columns / 4};
    if (keep != 1.0f)
        decay(&part, keep);
    if (keep != 1.0f || !k->d->dx)
        mct_x_descend(&part);
    else
        mct_x_descend_with_dx(&part);
}

/* All tiles of a worker, the first of which is on its way in `group`. */
static void walk(const struct walk *k, float keep, uint32_t group) {
    uint32_t at = 0;
    for (uint32_t c = 0; c < k->columns; c++)
        k->sum[c] = 0;
    for (uint32_t row = 0; row < k->d->columns; row += k->rows) {
        const uint32_t after = at == TILES - 1 ? 0 : at + 1, before = at == 0 ? TILES - 1 : at - 1;
        mct_dma_wait(group);
        group = mct_dma_begin();
        if (row + k->rows < k->d->columns)
            move(k, row + k->rows, k->tile[after], true);
        if (row > 0)
            move(k, row - k->rows, k->tile[before], false);
        descend(k, row, k->tile[at], keep);
        if (row + k->rows >= k->d->columns) {
            mct_dma_wait(group);
            group = mct_dma_begin();
            move(k, row, k->tile[at], false);
        }
        at = after;
    }
    if (k->d->dx)
        for (uint32_t c = 0; c < k->columns; c += 4)
            mct_narrow4((mct_elem *)k->d->dx + k->column + c, k->sum + c, false);
    mct_dma_wait(group);
}

void MCT_TILED(dense_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update copy = *(const struct mct_dense_update *)args, *d = &copy;
    struct walk k;
    if (d->depth % 4 || d->columns % 2 || d->depth == 0 || d->columns == 0 || !plan(&k, d, worker, workers)) {
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    const float step = d->hyper[0] * (d->hyper[3] / *d->scale);
    const float keep = 1.0f - d->hyper[0] * d->hyper[2];
    uint32_t group = 0;
    if (worker == 0) {
        group = mct_dma_begin();
        mct_l1_in(k.x, d->x, d->depth * sizeof(mct_elem));
        mct_l1_in(k.dy, d->dy, d->columns * sizeof(mct_elem));
        if (d->bias)
            mct_l1_in(k.bias, d->bias, d->columns * sizeof(float));
        *k.bad = *d->overflow != 0;
        mct_dma_wait(group);
    }
    if (k.columns) {
        group = mct_dma_begin();
        move(&k, 0, k.tile[0], true);
    }
    mct_barrier();
    prepare(&k, step, keep, worker, workers);
    mct_barrier();
    if (*k.bad) {
        if (k.columns)
            mct_dma_wait(group);
        *(volatile int32_t *)d->overflow = 1;
        mct_barrier();
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    if (k.columns)
        walk(&k, keep, group);
    if (d->bias && worker == workers - 1) {
        group = mct_dma_begin();
        mct_l1_out(d->bias, k.bias, d->columns * sizeof(float));
        mct_dma_wait(group);
    }
}
#else
#include "../dense_update.c"
#endif
