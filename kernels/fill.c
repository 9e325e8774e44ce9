#include "fill.h"
#include "simd/simd.h"

void MCT_KERNEL(fill)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_fill *d = args;
    mct_elem *y = d->y;
    const mct_elem value = mct_narrow(d->value);
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        y[i] = value;
}
