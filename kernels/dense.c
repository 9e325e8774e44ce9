#include "dense.h"
#include "gemm_block.h"

enum { COLUMNS_PER_ITEM = 8 };

/* Items are blocks of four rows, cut into groups of columns when there are too
 * few of them to keep every worker busy. */
void MCT_KERNEL(dense)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense *d = args;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    const struct mct_run whole = {0, d->depth};
    const struct mct_fast fast = mct_fast_begin(worker, workers);
    uint32_t row_blocks = mct_ceil_div(d->rows, 4);
    bool few = d->batch * row_blocks < 2 * workers;
    uint32_t width = few ? COLUMNS_PER_ITEM : d->columns;
    uint32_t groups = mct_ceil_div(d->columns, width);
    uint32_t item, last;
    mct_split(d->batch * row_blocks * groups, worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t column = item % groups * width;
        uint32_t block = item / groups;
        uint32_t batch = block / row_blocks;
        uint32_t row = block % row_blocks * 4;
        const mct_elem *x = (const mct_elem *)d->x + (batch * d->rows + row) * d->depth;
        const mct_elem *w = (const mct_elem *)d->w + batch * d->columns * d->depth;
        mct_elem *y = (mct_elem *)d->y + (batch * d->rows + row) * d->columns;
        mct_elem *const rows[4] = {y, y + d->columns, y + 2 * d->columns, y + 3 * d->columns};
        const struct mct_right right = {w, d->depth, &whole, 1};
        mct_rows_nt(rows, x, d->depth, mct_min(4, d->rows - row), &right, column,
                    mct_min(column + width, d->columns), &finish, &fast);
    }
}
