#include "dense_weight_gradient.h"
#include "gemm_tn_block.h"

enum { COLUMNS_PER_ITEM = 4, DEPTH_PER_ITEM = 32 };

void MCT_KERNEL(dense_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_weight_gradient *d = args;
    uint32_t column_blocks = mct_ceil_div(d->columns, COLUMNS_PER_ITEM);
    uint32_t depth_blocks = mct_ceil_div(d->depth, DEPTH_PER_ITEM);
    uint32_t item, last;
    mct_split(d->batch * column_blocks * depth_blocks, worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t k = item % depth_blocks * DEPTH_PER_ITEM;
        uint32_t block = item / depth_blocks;
        uint32_t column = block % column_blocks * COLUMNS_PER_ITEM;
        uint32_t batch = block / column_blocks;
        const mct_elem *x = (const mct_elem *)d->x + batch * d->rows * d->depth;
        const mct_elem *dy = (const mct_elem *)d->dy + batch * d->rows * d->columns;
        float *acc = d->acc + (batch * d->columns + column) * d->depth + k,
              own[COLUMNS_PER_ITEM * DEPTH_PER_ITEM];
        uint32_t columns = mct_min(COLUMNS_PER_ITEM, d->columns - column);
        uint32_t wide = mct_min(DEPTH_PER_ITEM, d->depth - k);
        struct mct_tn_sums sums = mct_tn_sums_begin(acc, d->depth, own, columns, wide, d->squares);
        mct_rows_tn(sums.at, sums.stride, columns, wide, dy + column, d->columns, x + k, d->depth, d->rows);
        mct_tn_sums_end(sums, acc, d->depth, columns, wide);
    }
}
