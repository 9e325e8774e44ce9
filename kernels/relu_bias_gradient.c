#include "relu_bias_gradient.h"
#include "squares.h"

enum { CHANNELS_PER_ITEM = 4 };

MCT_INLINE mct_elem passed(const mct_elem *dy, const mct_elem *y) {
    return mct_narrow(mct_widen(*y) <= 0.0f ? 0.0f : mct_widen(*dy));
}

/* As bias_gradient.c: a dot product of each column with ones. */
void MCT_KERNEL(relu_bias_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_relu_bias_gradient *d = args;
    const mct_pair ones = mct_both(1.0f);
    uint32_t item, last;
    mct_split(mct_ceil_div(d->channels, CHANNELS_PER_ITEM), worker, workers, &item, &last);
    for (; item < last; item++) {
        const uint32_t first = item * CHANNELS_PER_ITEM,
                       wide = mct_min(CHANNELS_PER_ITEM, d->channels - first);
        const mct_elem *dy = (const mct_elem *)d->dy + first, *y = (const mct_elem *)d->y + first;
        mct_elem *dx = (mct_elem *)d->dx + first;
        float *acc = d->acc + first, sum[CHANNELS_PER_ITEM];
        for (uint32_t c = 0; c < wide; c++)
            sum[c] = d->squares ? 0.0f : acc[c];
        uint32_t m = 0;
        for (; m + 2 <= d->rows; m += 2, dy += 2 * d->channels, y += 2 * d->channels, dx += 2 * d->channels)
            for (uint32_t c = 0; c < wide; c++) {
                const uint32_t next = d->channels + c;
                const mct_elem low = passed(dy + c, y + c), high = passed(dy + next, y + next);
                dx[c] = low;
                dx[next] = high;
                sum[c] = mct_dot(sum[c], mct_join(&low, &high), ones);
            }
        if (m < d->rows)
            for (uint32_t c = 0; c < wide; c++) {
                const mct_elem low = passed(dy + c, y + c);
                dx[c] = low;
                sum[c] = mct_dot_low(sum[c], mct_load_low(&low), ones);
            }
        for (uint32_t c = 0; c < wide; c++)
            acc[c] = d->squares ? mct_square(acc[c], mct_canonical(sum[c])) : mct_canonical(sum[c]);
    }
}
