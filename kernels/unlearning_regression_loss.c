#include "unlearning_regression_loss.h"
#include "simd/simd.h"

enum { MODE_SQUARES = 0, MODE_ABSOLUTE = 7 };

static float sign(float v) {
    return v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : v;
}

/* Worker 0 sums the loss; gradients are shared out by elements. */
void MCT_KERNEL(unlearning_regression_loss)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_unlearning_regression_loss *d = args;
    const mct_elem *x = d->prediction;
    mct_elem *dx = d->dprediction;
    const float mode = d->choice[0];
    const bool squares = mode == MODE_SQUARES, known = squares || mode == MODE_ABSOLUTE;
    if (worker == 0) {
        float sum = 0.0f;
        for (uint32_t i = 0; known && i < d->count; i++) {
            const float difference = mct_widen(x[i]) - d->target[i];
            sum += squares ? difference * difference : difference < 0.0f ? -difference : difference;
        }
        *d->loss = known ? mct_canonical(sum / (float)d->count) : __builtin_nanf("");
    }
    const float factor = *d->scale / (float)d->count * d->choice[1];
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const float difference = mct_widen(x[i]) - d->target[i];
        dx[i] = known ? mct_narrow(factor * (squares ? 2.0f * difference : sign(difference))) : (mct_elem)0;
    }
}
