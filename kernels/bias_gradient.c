#include "bias_gradient.h"
#include "squares.h"

enum { CHANNELS_PER_ITEM = 4 };

/* A dot product of each column with ones, under the rule of every dot product. */
static void sum_columns(float *acc, const mct_elem *dy, uint32_t stride, uint32_t rows, uint32_t columns,
                        uint32_t squares) {
    float sum[CHANNELS_PER_ITEM];
    for (uint32_t c = 0; c < columns; c++)
        sum[c] = squares ? 0.0f : acc[c];
    const mct_pair ones = mct_both(1.0f);
    uint32_t m = 0;
    for (; m + 2 <= rows; m += 2, dy += 2 * stride)
        for (uint32_t c = 0; c < columns; c++)
            sum[c] = mct_dot(sum[c], mct_join(dy + c, dy + stride + c), ones);
    if (m < rows)
        for (uint32_t c = 0; c < columns; c++)
            sum[c] = mct_dot_low(sum[c], mct_load_low(dy + c), ones);
    for (uint32_t c = 0; c < columns; c++)
        acc[c] = squares ? mct_square(acc[c], mct_canonical(sum[c])) : mct_canonical(sum[c]);
}

void MCT_KERNEL(bias_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_bias_gradient *d = args;
    const mct_elem *dy = d->dy;
    uint32_t item, last;
    mct_split(mct_ceil_div(d->channels, CHANNELS_PER_ITEM), worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t c = item * CHANNELS_PER_ITEM;
        sum_columns(d->acc + c, dy + c, d->channels, d->rows, mct_min(CHANNELS_PER_ITEM, d->channels - c),
                    d->squares);
    }
}
