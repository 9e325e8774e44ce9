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
#include "simd/streams_xpulp.h"
#include "tiled/l1.h"

/* The first tile is a small one, so that work begins soon; then each is twice the one before. */
enum { TILES = 3, MOST_ROWS = 32, FIRST_ROWS = 8 };

/* What worker 0 finds out for all. */
struct found {
    uint32_t bad;
    float step, keep;
};

struct walk {
    const struct mct_dense_update *d;
    mct_elem *x, *dy;
    float *bias, *wide_x, *q, *sum, *tile[TILES];
    volatile struct found *found;
    uint32_t column, columns;  /* this worker's */
    uint32_t rows, first_rows; /* of a tile */
};

/* False: even the smallest tiles are too large. */
static bool plan(struct walk *k, const struct mct_dense_update *d, uint32_t worker, uint32_t workers) {
    const struct mct_l1 room = mct_l1_all();
    const uint32_t depth = d->depth, columns = d->columns;
    const uint32_t common = (depth + columns) * sizeof(mct_elem) + (2 * columns + depth + 3) * sizeof(float) +
                            sizeof(struct found);
    k->d = d;
    k->x = (mct_elem *)(void *)room.at;
    k->dy = k->x + depth;
    k->bias = (float *)(void *)(k->dy + columns);
    k->wide_x = k->bias + columns;
    k->q = k->wide_x + depth + 1;
    k->found = (struct found *)(void *)(k->q + columns + 2);
    if (common > room.left)
        return false;
    uint32_t first, last;
    mct_split(depth / 4, worker, workers, &first, &last);
    k->column = 4 * first;
    k->columns = 4 * (last - first);
    /* of the worker with most columns */
    mct_split(depth / 4, 0, workers, &first, &last);
    const uint32_t most = 4 * last * sizeof(float);
    const uint32_t part = (workers == 8 ? (room.left - common) / 8 : (room.left - common) / workers) & ~15u;
    uint32_t rows = MOST_ROWS;
    if (part < most * (1 + TILES * MOST_ROWS)) {
        if (part < most * (1 + TILES * 2))
            return false;
        rows = (part - most) / (TILES * most) & ~1u;
    }
    k->rows = mct_min(rows, columns);
    k->first_rows = mct_min(rows, mct_min(FIRST_ROWS, columns));
    k->sum = (float *)(void *)(room.at + common + worker * part);
    k->tile[0] = k->sum + most / sizeof(float);
    for (uint32_t i = 1; i < TILES; i++)
        k->tile[i] = k->tile[i - 1] + most / sizeof(float) * k->rows;
    return true;
}

/* Begins to bring or send a tile of some rows. */
static void move(const struct walk *k, uint32_t row, uint32_t rows, float *tile, bool in) {
    float *w = k->d->w + row * k->d->depth + k->column;
    const uint32_t bytes = k->columns * sizeof(float), stride = k->d->depth * sizeof(float);
    if (in)
        mct_dma_in_rows(tile, w, rows, bytes, stride);
    else
        mct_dma_out_rows(w, tile, rows, bytes, stride);
}

/* The operands that all share, and the factors. By one worker. */
static void bring(const struct walk *k) {
    const struct mct_dense_update *d = k->d;
    const uint32_t group = mct_dma_begin();
    /* side by side in L1 */
    mct_dma_in(k->x, d->x, d->depth * sizeof(mct_elem));
    mct_dma_in(k->dy, d->dy, d->columns * sizeof(mct_elem));
    if (d->bias)
        mct_dma_in(k->bias, d->bias, d->columns * sizeof(float));
    const float rate = d->hyper[0];
    k->found->step = rate * (d->hyper[3] / *d->scale);
    k->found->keep = 1.0f - rate * d->hyper[2];
    k->found->bad = *d->overflow != 0;
    mct_dma_wait(group);
}

/* Not zero where a pair holds an infinity or a NaN: an exponent of ones carries into the sign. */
static uint32_t not_finite(uint32_t pair) {
    return ((pair & 0x7c007c00u) + 0x04000400u) & 0x80008000u;
}

static float half(uint32_t bits) {
    mct_elem v;
    __builtin_memcpy(&v, &bits, sizeof v);
    return mct_widen(v);
}

/* Binary32 copies, the bias, and whether there is anything to be done: of every workers-th pair. */
static void prepare(const struct walk *k, uint32_t worker, uint32_t workers) {
    const uint32_t by = 2 * workers, depth = k->d->depth, columns = k->d->columns;
    const float step = k->found->step, keep = k->found->keep;
    uint32_t bad = 0;
#pragma clang loop unroll(disable)
    for (uint32_t i = 2 * worker; i < depth; i += by) {
        const uint32_t pair = mct_xpulp_word(k->x + i);
        bad |= not_finite(pair);
        k->wide_x[i] = half(pair);
        k->wide_x[i + 1] = half(pair >> 16);
    }
#pragma clang loop unroll(disable)
    for (uint32_t i = 2 * worker; i < columns; i += by) {
        const uint32_t pair = mct_xpulp_word(k->dy + i);
        bad |= not_finite(pair);
        const float low = step * half(pair), high = step * half(pair >> 16);
        k->q[i] = low;
        k->q[i + 1] = high;
        k->bias[i] = keep * k->bias[i] - low;
        k->bias[i + 1] = keep * k->bias[i + 1] - high;
    }
    if (bad)
        k->found->bad = 1;
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

/* All tiles of a worker, the first of which is on its way in `group`. */
static void walk(const struct walk *k, float keep, uint32_t group) {
    const uint32_t end = k->d->columns;
    const bool sums = k->d->dx && keep == 1.0f;
    struct mct_x_descent part = {.q = k->q,
                                 .dy = k->dy,
                                 .x = k->wide_x + k->column,
                                 .sum = k->sum,
                                 .pitch = k->columns * sizeof(float),
                                 .rows = k->first_rows,
                                 .blocks = k->columns / 4};
#pragma clang loop unroll(disable)
    for (uint32_t c = 0; c < k->columns; c++)
        k->sum[c] = 0;
    for (uint32_t row = 0, sent = 0, at = 0; row < end; at = at == TILES - 1 ? 0 : at + 1) {
        const uint32_t next = row + part.rows;
        const uint32_t rows = mct_min(mct_min(2 * part.rows, k->rows), end - next);
        mct_dma_wait(group);
        group = mct_dma_begin();
        if (rows)
            move(k, next, rows, k->tile[at == TILES - 1 ? 0 : at + 1], true);
        if (row > 0)
            move(k, sent, row - sent, k->tile[at == 0 ? TILES - 1 : at - 1], false);
        part.w = k->tile[at];
        if (keep != 1.0f)
            decay(&part, keep);
        if (sums)
            mct_x_descend_with_dx(&part);
        else
            mct_x_descend(&part);
        part.q += part.rows;
        part.dy += part.rows;
        part.rows = rows;
        sent = row;
        row = next;
        if (rows == 0) {
            mct_dma_wait(group);
            group = mct_dma_begin();
            move(k, sent, end - sent, k->tile[at], false);
        }
    }
    mct_elem *dx = (mct_elem *)k->d->dx + k->column, narrow[4];
    for (uint32_t c = 0; k->d->dx && c < k->columns; c += 4)
        if (k->d->relu) {
            mct_narrow4(narrow, k->sum + c, false);
            mct_x_relu_gradient(narrow, k->x + k->column + c, 2);
            mct_xpulp_store(dx + c, mct_xpulp_word(narrow));
            mct_xpulp_store(dx + c + 2, mct_xpulp_word(narrow + 2));
        } else
            mct_narrow4(dx + c, k->sum + c, false);
    mct_dma_wait(group);
}

void MCT_TILED(dense_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update *d = args;
    struct walk k;
    if (d->depth % 4 || d->columns % 2 || d->depth == 0 || d->columns == 0 || !plan(&k, d, worker, workers)) {
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    if (worker == 0)
        bring(&k);
    mct_barrier();
    /* not before: these would come in the way of what all wait for */
    uint32_t group = 0;
    if (k.columns) {
        group = mct_dma_begin();
        move(&k, 0, k.first_rows, k.tile[0], true);
    }
    prepare(&k, worker, workers);
    mct_barrier();
    if (k.found->bad) {
        if (k.columns)
            mct_dma_wait(group);
        *(volatile int32_t *)d->overflow = 1;
        mct_barrier();
        mct_any_shape_dense_update(args, worker, workers);
        return;
    }
    if (k.columns)
        walk(&k, k.found->keep, group);
    if (d->bias && worker == workers - 1) {
        group = mct_dma_begin();
        mct_l1_out(d->bias, k.bias, d->columns * sizeof(float));
        mct_dma_wait(group);
    }
}
#else
#include "../dense_update.c"
#endif
