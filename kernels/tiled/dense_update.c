/* A dense layer's backward pass and descent through L1: each weight comes once and goes once.
 *
 * A stripe is some columns of w; it goes through L1 in tiles of an even number of rows, three of which
 * are there: one that comes, one that is worked on in place, one that goes. Workers have columns of a stripe
 * to themselves. L1 holds dy, x, the same as binary32, q, the sums of dx, the bias, then the tiles. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_update)
#include "../dense_update.c"
#include "simd/descent_xpulp.h"
#include "tiled/l1.h"

enum { STRIPE = 320, TILES = 3, MOST_ROWS = 32 };

struct walk {
    const struct mct_dense_update *d;
    mct_elem *x, *dy;
    float *wide_x, *q, *sum, *bias, *tile[TILES];
    volatile uint32_t *bad;
    uint32_t stripe, stripes; /* columns of w */
    uint32_t rows, tiles;     /* of a tile; in a stripe */
};

static bool plan(struct walk *k, const struct mct_dense_update *d) {
    struct mct_l1 room = mct_l1_all();
    *k = (struct walk){.d = d};
    k->stripes = mct_ceil_div(d->depth, STRIPE);
    k->stripe = mct_ceil_div(d->depth / 4, k->stripes) * 4;
    k->x = mct_l1_take(&room, d->depth * sizeof(mct_elem));
    k->dy = mct_l1_take(&room, d->columns * sizeof(mct_elem));
    k->wide_x = mct_l1_take(&room, d->depth * sizeof(float));
    k->q = mct_l1_take(&room, (d->columns + 2) * sizeof(float));
    k->sum = mct_l1_take(&room, k->stripe * sizeof(float));
    k->bias = mct_l1_take(&room, d->columns * sizeof(float));
    k->bad = mct_l1_take(&room, sizeof *k->bad);
    if (!k->x || !k->dy || !k->wide_x || !k->q || !k->sum || !k->bias || !k->bad)
        return false;
    k->rows = mct_min(room.left / TILES / (k->stripe * sizeof(float)), MOST_ROWS) / 2 * 2;
    if (k->rows == 0)
        return false;
    k->rows = mct_min(k->rows, d->columns);
    k->tiles = mct_ceil_div(d->columns, k->rows);
    for (uint32_t i = 0; i < TILES; i++)
        k->tile[i] = mct_l1_take(&room, k->rows * k->stripe * sizeof(float));
    return true;
}

/* Tiles go through the rows, then the stripes. */
struct place {
    uint32_t row, rows, column, columns, at;
};

static struct place place_of(const struct walk *k, uint32_t tile) {
    struct place p;
    p.column = tile / k->tiles * k->stripe;
    p.row = tile % k->tiles * k->rows;
    p.columns = mct_min(k->stripe, k->d->depth - p.column);
    p.rows = mct_min(k->rows, k->d->columns - p.row);
    p.at = tile % TILES;
    return p;
}

static void move(const struct walk *k, uint32_t tile, bool in) {
    const struct place p = place_of(k, tile);
    float *w = k->d->w + p.row * k->d->depth + p.column, *l1 = k->tile[p.at];
    const uint32_t bytes = p.columns * sizeof(float), stride = k->d->depth * sizeof(float);
    if (p.columns == k->d->depth && in)
        mct_l1_in(l1, w, p.rows * bytes);
    else if (p.columns == k->d->depth)
        mct_l1_out(w, l1, p.rows * bytes);
    else if (in)
        mct_dma_in_rows(l1, w, p.rows, bytes, stride);
    else
        mct_dma_out_rows(w, l1, p.rows, bytes, stride);
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

/* Four columns of a tile with a decay, which is seldom. */
static __attribute__((noinline)) void decay(const struct mct_x_descent *d, float keep) {
    for (uint32_t r = 0; r < d->rows; r++) {
        float *w = (float *)(void *)((uint8_t *)d->w + r * d->pitch);
        for (uint32_t c = 0; c < 4; c++)
            w[c] *= keep;
    }
}

/* Sums of dx alone: before a decay, which would change what they are made of. */
static __attribute__((noinline)) void sum_columns(const struct mct_x_descent *d, float sum[4]) {
    for (uint32_t r = 0; r < d->rows; r += 2) {
        const float *w = (const float *)(const void *)((const uint8_t *)d->w + r * d->pitch);
        const float *v = (const float *)(const void *)((const uint8_t *)w + d->pitch);
        for (uint32_t c = 0; c < 4; c++) {
            uint32_t pair;
            MCT_XPULP_OP(0x33, 2, 0x58, pair, w[c], v[c]);
            sum[c] = mct_dot(sum[c], mct_load(d->dy + r), pair);
        }
    }
}

static void descend(const struct walk *k, uint32_t tile, float keep, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update *d = k->d;
    const struct place p = place_of(k, tile);
    uint32_t block, last;
    mct_split(p.columns / 4, worker, workers, &block, &last);
    struct mct_x_descent step = {.q = k->q + p.row,
                                 .dy = k->dy + p.row,
                                 .w = k->tile[p.at] + 4 * block,
                                 .pitch = p.columns * sizeof(float),
                                 .rows = p.rows};
    for (; block < last; block++, step.w += 4) {
        float *sum = k->sum + 4 * block;
        const float *x = k->wide_x + p.column + 4 * block;
        if (p.row == 0)
            for (uint32_t c = 0; c < 4; c++)
                sum[c] = 0;
        if (keep != 1.0f) {
            if (d->dx)
                sum_columns(&step, sum);
            decay(&step, keep);
            mct_x_descend(&step, x);
        } else if (d->dx)
            mct_x_descend_with_dx(&step, sum, x);
        else
            mct_x_descend(&step, x);
        if (d->dx && p.row + p.rows == d->columns)
            mct_narrow4((mct_elem *)d->dx + p.column + 4 * block, sum, false);
    }
}

void MCT_TILED(dense_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update *d = args;
    struct walk k;
    if (d->depth % 4 || d->columns % 2 || d->depth == 0 || d->columns == 0 || !plan(&k, d)) {
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    const float step = d->hyper[0] * (d->hyper[3] / *d->scale);
    const float keep = 1.0f - d->hyper[0] * d->hyper[2];
    const uint32_t tiles = k.stripes * k.tiles, vectors = worker == 0 ? mct_dma_begin() : 0;
    uint32_t group = 0;
    if (worker == 0) {
        mct_l1_in(k.x, d->x, d->depth * sizeof(mct_elem));
        mct_l1_in(k.dy, d->dy, d->columns * sizeof(mct_elem));
        if (d->bias)
            mct_l1_in(k.bias, d->bias, d->columns * sizeof(float));
        group = mct_dma_begin();
        move(&k, 0, true);
        *k.bad = *d->overflow != 0;
        mct_dma_wait(vectors);
    }
    mct_barrier();
    prepare(&k, step, keep, worker, workers);
    mct_barrier();
    if (*k.bad) {
        if (worker == 0) {
            mct_dma_wait(group);
            *d->overflow = 1;
        }
        mct_barrier();
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    for (uint32_t tile = 0; tile < tiles; tile++) {
        if (worker == 0)
            mct_dma_wait(group);
        mct_barrier();
        if (worker == 0) {
            group = mct_dma_begin();
            if (tile + 1 < tiles)
                move(&k, tile + 1, true);
            if (tile > 0)
                move(&k, tile - 1, false);
            else if (d->bias)
                mct_l1_out(d->bias, k.bias, d->columns * sizeof(float));
        }
        descend(&k, tile, keep, worker, workers);
    }
    mct_barrier();
    if (worker == 0) {
        mct_dma_wait(group);
        group = mct_dma_begin();
        move(&k, tiles - 1, false);
        mct_dma_wait(group);
    }
}
#else
#include "../dense_update.c"
#endif
