#include "masked_sgd.h"

void MCT_KERNEL(masked_sgd)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_masked_sgd *d = args;
    const float rate = d->hyper[0], momentum = d->hyper[1], decay = d->hyper[2];
    const float factor = d->hyper[3] / *d->scale;
    const bool stop = *d->overflow != 0;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        float step = d->g[i] * factor;
        d->g[i] = 0.0f;
        if (stop)
            continue;
        if (decay != 0.0f)
            step += decay * d->w[i];
        if (d->v) {
            step = momentum * d->v[i] + step;
            d->v[i] = step;
        }
        if (d->mask[i])
            d->w[i] -= rate * step;
    }
}
