#include "softmax.h"
#include "softmax_row.h"

void MCT_KERNEL(softmax)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_softmax *d = args;
    uint32_t item, last;
    mct_split(d->outer * d->inner, worker, workers, &item, &last);
    for (; item < last; item++) {
        const uint32_t offset = item / d->inner * d->length * d->inner + item % d->inner;
        const mct_elem *x = (const mct_elem *)d->x + offset;
        mct_elem *y = (mct_elem *)d->y + offset;
        const struct mct_softmax_row row = mct_softmax_of_row(x, d->length, d->inner);
        const float logarithm = mct_log(row.sum);
        for (uint32_t i = 0; i < d->length; i++) {
            const float v = mct_widen(x[i * d->inner]) - row.largest;
            y[i * d->inner] = mct_narrow(d->logarithm ? v - logarithm : mct_exp(v) / row.sum);
        }
    }
}
