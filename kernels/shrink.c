#include "shrink.h"
#include "simd/simd.h"

void MCT_KERNEL(shrink)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_shrink *d = args;
    const float threshold = *d->threshold;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const float w = d->w[i], rest = (w < 0.0f ? -w : w) - threshold;
        d->w[i] = mct_canonical(rest <= 0.0f ? 0.0f : w < 0.0f ? -rest : rest);
    }
}
