/* Weight gradient of a dense layer, TN form, through L1: a variant for binary16 and sizes that are multiples
 * of four. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_weight_gradient)
#include "../dense_weight_gradient.c"
#include "simd/blocks_xpulp.h"
#include "tiled/l1.h"

/* Columns and depth of a piece of acc, which goes through L1 as a worker's own. */
enum { WORKERS = 8, ACROSS = 4, ALONG = 64, PIECE = ACROSS * ALONG * sizeof(float) };

struct gradient {
    const struct mct_dense_weight_gradient *d;
    float *acc;
    uint32_t along, pieces; /* depth of a piece, pieces along the depth */
};

static float *piece_place(const struct gradient *g, uint32_t item, uint32_t *along) {
    const uint32_t k = item % g->pieces * g->along;
    *along = mct_min(g->along, g->d->depth - k);
    return g->acc + item / g->pieces * ACROSS * g->d->depth + k;
}

static void bring_piece(const struct gradient *g, float *to, uint32_t item) {
    uint32_t along;
    const float *from = piece_place(g, item, &along);
    mct_dma_in_rows(to, from, ACROSS, along * sizeof(float), g->d->depth * sizeof(float));
}

static void send_piece(const struct gradient *g, const float *from, uint32_t item) {
    uint32_t along;
    float *to = piece_place(g, item, &along);
    mct_dma_out_rows(to, from, ACROSS, along * sizeof(float), g->d->depth * sizeof(float));
}

/* Sixteen sums of a piece continue. A sum of them all is NaN if one is. */
static void block(float *acc, uint32_t along, const mct_elem *dy, int32_t dy_step, const mct_elem *x,
                  int32_t x_step, uint32_t pairs) {
    float sum[16], any = 0;
    for (uint32_t i = 0; i < 16; i++)
        sum[i] = acc[i / 4 * along + i % 4];
    mct_x_tn_4x4(sum, dy, dy_step, x, x_step, pairs);
    for (uint32_t i = 0; i < 16; i++)
        any += sum[i];
    if (__builtin_expect(any != any, 0))
        for (uint32_t i = 0; i < 16; i++)
            sum[i] = mct_canonical(sum[i]);
    for (uint32_t i = 0; i < 16; i++)
        acc[i / 4 * along + i % 4] = sum[i];
}

/* Brings a share of the rows [first, first + rows) of a matrix to L1, in an even number: the last may be one
 * of zeros. */
static void bring_rows(mct_elem *to, const mct_elem *from, uint32_t rows, uint32_t width, uint32_t pair,
                       uint32_t last) {
    const uint32_t row = pair * 2, end = mct_min(last * 2, rows);
    if (row >= end)
        return;
    mct_l1_in(to + row * width, from + row * width, (end - row) * width * sizeof(mct_elem));
    if (end < last * 2)
        memset(to + end * width, 0, width * sizeof(mct_elem));
}

static void pair_rows(mct_elem *m, uint32_t width, uint32_t pair, uint32_t last) {
    for (; pair < last; pair++)
        mct_x_pair_rows(m + 2 * pair * width, m + (2 * pair + 1) * width, width / 2);
}

/* `rows` rows of x and dy are in L1 for all, as pairs of rows. */
static void some_rows(const struct gradient *g, struct mct_l1 room, const mct_elem *x_from,
                      const mct_elem *dy_from, uint32_t rows, uint32_t worker, uint32_t workers) {
    const struct mct_dense_weight_gradient *d = g->d;
    const uint32_t pairs = (rows + 1) / 2;
    mct_elem *x = mct_l1_take(&room, 2 * pairs * d->depth * sizeof(mct_elem));
    mct_elem *dy = mct_l1_take(&room, 2 * pairs * d->columns * sizeof(mct_elem));
    float *acc[2] = {(float *)(void *)(room.at + 2 * worker * PIECE)};
    acc[1] = acc[0] + ACROSS * ALONG;
    uint32_t first, last;
    mct_split(pairs, worker, workers, &first, &last);
    uint32_t group = mct_dma_begin();
    bring_rows(x, x_from, rows, d->depth, first, last);
    bring_rows(dy, dy_from, rows, d->columns, first, last);
    mct_dma_wait(group);
    uint32_t item, end;
    mct_split(d->columns / ACROSS * g->pieces, worker, workers, &item, &end);
    group = mct_dma_begin();
    if (item < end)
        bring_piece(g, acc[0], item);
    pair_rows(x, d->depth, first, last);
    pair_rows(dy, d->columns, first, last);
    mct_dma_wait(group);
    mct_barrier();
    for (uint32_t start = item; item < end; item++) {
        const uint32_t now = (item - start) % 2, column = item / g->pieces * ACROSS;
        uint32_t along;
        if (item > start)
            mct_dma_wait(group);
        group = mct_dma_begin();
        if (item > start)
            send_piece(g, acc[1 - now], item - 1);
        if (item + 1 < end && item > start) { /* behind what leaves the same place */
            mct_dma_wait(group);
            group = mct_dma_begin();
        }
        if (item + 1 < end)
            bring_piece(g, acc[1 - now], item + 1);
        const uint32_t k = (uint32_t)(piece_place(g, item, &along) - g->acc) - column * d->depth;
        for (uint32_t i = 0; i < along; i += 4)
            block(acc[now] + i, along, dy + column, (int32_t)(d->columns * sizeof(mct_elem)), x + k + i,
                  (int32_t)(d->depth * sizeof(mct_elem)), pairs);
        if (item + 1 == end) {
            mct_dma_wait(group);
            group = mct_dma_begin();
            send_piece(g, acc[now], item);
            mct_dma_wait(group);
        }
    }
}

void MCT_TILED(dense_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_weight_gradient *d = args;
    struct mct_l1 room = mct_l1_all();
    const uint32_t pair = 2 * (d->depth + d->columns) * sizeof(mct_elem), pieces = WORKERS * 2 * PIECE + 32;
    const uint32_t asked = mct_ceil_div(mct_min(d->tile_rows, d->rows), 2);
    if (d->depth % 4 || d->columns % ACROSS || room.left < pieces + pair ||
        asked > (room.left - pieces) / pair) {
        mct_any_shape_dense_weight_gradient(args, worker, workers);
        return;
    }
    const uint32_t most = 2 * (asked ? asked : (room.left - pieces) / pair);
    struct gradient g = {.d = d, .along = mct_min(d->depth, ALONG)};
    g.pieces = mct_ceil_div(d->depth, g.along);
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        g.acc = d->acc + batch * d->columns * d->depth;
        for (uint32_t row = 0; row < d->rows; row += most) {
            const uint32_t at = batch * d->rows + row;
            if (at)
                mct_barrier();
            some_rows(&g, room, (const mct_elem *)d->x + at * d->depth,
                      (const mct_elem *)d->dy + at * d->columns, mct_min(most, d->rows - row), worker,
                      workers);
        }
    }
}
#else
#include "../dense_weight_gradient.c"
#endif
