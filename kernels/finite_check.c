#include "finite_check.h"
#include "mct_math.h"
#include "simd/simd.h"

void MCT_KERNEL(finite_check)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_finite_check *d = args;
    const mct_elem *x = d->x;
    int found = 0;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        found |= mct_not_finite(mct_widen(x[i]));
    /* several workers may store, all of them the same word */
    if (found)
        *(volatile int32_t *)d->overflow = 1;
}
