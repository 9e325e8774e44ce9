#include "add_squares.h"
#include "simd/simd.h"

void MCT_KERNEL(add_squares)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_add_squares *d = args;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        d->acc[i] = mct_canonical(d->acc[i] + d->g[i] * d->g[i]);
}
