#include "mean_squared_error.h"
#include "simd/simd.h"

/* Worker 0 sums the loss; gradients are shared out by elements. */
void MCT_KERNEL(mean_squared_error)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_mean_squared_error *d = args;
    const mct_elem *x = d->prediction;
    mct_elem *dx = d->dprediction;
    if (worker == 0) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < d->count; i++) {
            const float difference = mct_widen(x[i]) - d->target[i];
            sum += difference * difference;
        }
        *d->loss = mct_canonical(sum / (float)d->count);
    }
    if (!dx)
        return;
    const float factor = 2.0f * *d->scale / (float)d->count;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        dx[i] = mct_narrow(factor * (mct_widen(x[i]) - d->target[i]));
}
