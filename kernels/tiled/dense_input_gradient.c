/* Matrix product, NN form, through L1: a variant for binary16, an even reduction and columns in fours. Other
 * shapes take the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(dense_input_gradient)
#include "../dense_input_gradient.c"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "tiled/many_rows.h"

static __attribute__((noinline)) void many_rows(const struct mct_product *p, uint32_t column,
                                                uint32_t columns, uint32_t worker, uint32_t workers) {
    mct_many_rows(p, true, column, columns, worker, workers);
}

/* Bytes for each worker behind x, which is there for all. */
static uint32_t few_rows_room(const struct mct_dense_input_gradient *d) {
    const uint32_t x = mct_turn_bytes(d->rows * d->depth * sizeof(mct_elem)), left = mct_l1_all().left;
    return x < left ? (left - x) / MCT_MANY_WORKERS / 16 * 16 : 0;
}

/* How many columns of w, all of each, a worker has there at a time with the results. */
static uint32_t few_rows_columns(const struct mct_dense_input_gradient *d) {
    return few_rows_room(d) / ((d->depth + d->rows) * sizeof(mct_elem)) & ~3u;
}

/* x, of fewer than four rows, is in L1 for all; each worker brings its share of the columns of w. */
static __attribute__((noinline)) void few_rows(const struct mct_product *p, uint32_t room, uint32_t most,
                                               uint32_t worker, uint32_t workers) {
    struct mct_l1 l1 = mct_l1_all();
    mct_elem *x = mct_l1_take(&l1, p->rows * p->depth * sizeof(mct_elem));
    mct_elem *w = (mct_elem *)(void *)(l1.at + worker * room);
    uint32_t column, last;
    mct_split(p->columns / 4, worker, workers, &column, &last);
    bool first = true;
    for (column *= 4, last *= 4; column < last || first; column += most, first = false) {
        const uint32_t columns = column < last ? mct_min(most, last - column) : 0;
        mct_elem *y = w + columns * p->depth;
        uint32_t group = mct_dma_begin();
        if (first && worker == 0)
            mct_l1_in(x, p->x, p->rows * p->depth * sizeof(mct_elem));
        if (columns)
            mct_dma_in_rows(w, p->w + column, p->depth, columns * sizeof(mct_elem),
                            p->columns * sizeof(mct_elem));
        mct_dma_wait(group);
        if (first)
            mct_barrier();
        if (!columns)
            continue;
        for (uint32_t c = 0; c < columns; c += 4)
            for (uint32_t r = 0; r < p->rows; r++) {
                const mct_elem *at = w + c;
                float sum[4] = {0};
                for (uint32_t k = 0; k < p->depth; k += 2, at += 2 * columns) {
                    mct_pair pairs[4];
                    const mct_pair both = mct_load(x + r * p->depth + k);
                    mct_join4(pairs, at, at + columns);
                    for (uint32_t i = 0; i < 4; i++)
                        sum[i] = mct_dot(sum[i], both, pairs[i]);
                }
                mct_narrow4(y + r * columns + c, sum, false);
            }
        group = mct_dma_begin();
        mct_dma_out_rows(p->y + column, y, p->rows, columns * sizeof(mct_elem),
                         p->columns * sizeof(mct_elem));
        mct_dma_wait(group);
    }
}

void MCT_TILED(dense_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_input_gradient *d = args;
    const bool many = d->rows >= MCT_NT_ROWS;
    uint32_t tile = 0;
    if (d->depth % 2 == 0 && d->depth && d->depth <= 2048 && d->columns % 4 == 0)
        tile = many ? mct_many_columns(d->columns, d->depth, d->tile_columns) : few_rows_columns(d);
    if (tile % 4 || tile == 0) {
        mct_any_shape_dense_input_gradient(args, worker, workers);
        return;
    }
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        const struct mct_product p = {.x = (const mct_elem *)d->dy + batch * d->rows * d->depth,
                                      .w = (const mct_elem *)d->w + batch * d->columns * d->depth,
                                      .y = (mct_elem *)d->dx + batch * d->rows * d->columns,
                                      .rows = d->rows,
                                      .columns = d->columns,
                                      .depth = d->depth};
        for (uint32_t column = 0; column < d->columns; column += many ? tile : d->columns) {
            if (batch || column)
                mct_barrier();
            if (many)
                many_rows(&p, column, mct_min(tile, d->columns - column), worker, workers);
            else
                few_rows(&p, few_rows_room(d), tile, worker, workers);
        }
    }
}
#else
void MCT_TILED(dense_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    mct_any_shape_dense_input_gradient(args, worker, workers);
}
#endif
