#include "dense_input_gradient.h"
#include "simd/simd.h"

/* y[rows][columns] of dx, up to four of both: rows of dy are `depth` long, those of w and dx `pitch`. */
static void block(mct_elem *y, const mct_elem *dy, const mct_elem *w, uint32_t rows, uint32_t columns,
                  uint32_t depth, uint32_t pitch) {
    float sum[4][4] = {{0}};
    mct_pair pairs[4];
    uint32_t k = 0;
    for (; k + 2 <= depth; k += 2, w += 2 * pitch) {
        if (columns == 4)
            mct_join4(pairs, w, w + pitch);
        else
            for (uint32_t c = 0; c < columns; c++)
                pairs[c] = mct_join(w + c, w + pitch + c);
        for (uint32_t r = 0; r < rows; r++) {
            const mct_pair x = mct_load(dy + r * depth + k);
            for (uint32_t c = 0; c < columns; c++)
                sum[r][c] = mct_dot(sum[r][c], x, pairs[c]);
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++) {
            if (k < depth)
                sum[r][c] = mct_dot_low(sum[r][c], mct_load_low(dy + r * depth + k), mct_load_low(w + c));
            y[r * pitch + c] = mct_narrow(sum[r][c] + 0.0f); /* not -0 */
        }
}

void MCT_KERNEL(dense_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_input_gradient *d = args;
    const uint32_t down = mct_ceil_div(d->rows, 4), across = mct_ceil_div(d->columns, 4);
    uint32_t item, last;
    mct_split(d->batch * down * across, worker, workers, &item, &last);
    for (; item < last; item++) {
        const uint32_t column = item % across * 4, row = item / across % down * 4;
        const uint32_t batch = item / across / down, first = batch * d->rows + row;
        block((mct_elem *)d->dx + first * d->columns + column, (const mct_elem *)d->dy + first * d->depth,
              (const mct_elem *)d->w + batch * d->depth * d->columns + column, mct_min(4, d->rows - row),
              mct_min(4, d->columns - column), d->depth, d->columns);
    }
}
