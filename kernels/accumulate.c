#include "accumulate.h"
#include "simd/simd.h"

void MCT_KERNEL(accumulate)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_accumulate *d = args;
    const mct_elem *x = d->x;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        d->sum[i] = mct_canonical(d->sum[i] + mct_widen(x[i]));
}
