/* Weight gradient of a dense layer, TN form, through L1: a variant for binary16 and sizes that are multiples
 * of four. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_weight_gradient)
#include "../dense_weight_gradient.c"
#include "tiled/product_tn.h"

/* In L1: the pieces of acc, MCT_TN_BYTES; then so many pairs of rows of x as fit, and as many of dy. */

/* `rows` rows of x and dy are in L1 for all, as pairs of rows. */
static void some_rows(const struct mct_dense_weight_gradient *d, const struct mct_tn *t, struct mct_l1 room,
                      const mct_elem *x_from, const mct_elem *dy_from, uint32_t rows, uint32_t worker,
                      uint32_t workers) {
    const uint32_t pairs = (rows + 1) / 2;
    mct_elem *x = mct_l1_take(&room, 2 * pairs * d->depth * sizeof(mct_elem));
    mct_elem *dy = mct_l1_take(&room, 2 * pairs * d->columns * sizeof(mct_elem));
    uint32_t first, last;
    mct_split(pairs, worker, workers, &first, &last);
    uint32_t group = mct_dma_begin();
    mct_tn_bring_rows(x, x_from, rows, d->depth, first, last);
    mct_dma_wait(group);
    group = mct_dma_begin();
    mct_tn_bring_rows(dy, dy_from, rows, d->columns, first, last);
    mct_tn_pair_rows(x, d->depth, first, last);
    mct_dma_wait(group);
    struct mct_tn_piece piece;
    group = mct_dma_begin();
    const struct mct_tn_share share = mct_tn_begin(t, worker, workers, &piece);
    mct_tn_pair_rows(dy, d->columns, first, last);
    mct_dma_wait(group);
    mct_barrier();
    mct_tn_run(t, share, piece, x, dy, pairs);
}

void MCT_TILED(dense_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_weight_gradient *d = args;
    struct mct_l1 room = mct_l1_all();
    const uint32_t pair = 2 * (d->depth + d->columns) * sizeof(mct_elem);
    const uint32_t asked = mct_ceil_div(mct_min(d->tile_rows, d->rows), 2);
    uint8_t *pieces = mct_l1_take(&room, MCT_TN_BYTES);
    if (d->depth % 4 || d->columns % MCT_TN_ROWS || !pieces || room.left < pair + 32 ||
        asked > (room.left - 32) / pair) {
        mct_any_shape_dense_weight_gradient(args, worker, workers);
        return;
    }
    const uint32_t most = 2 * (asked ? asked : (room.left - 32) / pair);
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        const struct mct_tn t = mct_tn(d->acc + batch * d->columns * d->depth, d->columns, d->depth, pieces);
        for (uint32_t row = 0; row < d->rows; row += most) {
            const uint32_t at = batch * d->rows + row;
            if (at)
                mct_barrier();
            some_rows(d, &t, room, (const mct_elem *)d->x + at * d->depth,
                      (const mct_elem *)d->dy + at * d->columns, mct_min(most, d->rows - row), worker,
                      workers);
        }
    }
}
#else
#include "../dense_weight_gradient.c"
#endif
