#include "strided_copy.h"
#include "simd/simd.h"

void MCT_KERNEL(strided_copy)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_strided_copy *d = args;
    const uint32_t stride = d->strides[MCT_RANK - 1];
    uint32_t first, last, index[MCT_RANK];
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_walk_start(index, d->dims, first);
    while (first < last) {
        const uint32_t run = mct_min(d->dims[MCT_RANK - 1] - index[MCT_RANK - 1], last - first);
        const uint32_t offset = mct_walk_offset(index, d->strides);
        if (d->conversion == MCT_NARROW) {
            const float *x = (const float *)d->x + offset;
            mct_elem *y = (mct_elem *)d->y + first;
            for (uint32_t i = 0; i < run; i++)
                y[i] = mct_narrow(x[i * stride]);
        } else if (d->conversion == MCT_WIDEN) {
            const mct_elem *x = (const mct_elem *)d->x + offset;
            float *y = (float *)d->y + first;
            for (uint32_t i = 0; i < run; i++)
                y[i] = mct_canonical(mct_widen(x[i * stride]));
        } else {
            const mct_elem *x = (const mct_elem *)d->x + offset;
            mct_elem *y = (mct_elem *)d->y + first;
            for (uint32_t i = 0; i < run; i++)
                y[i] = x[i * stride];
        }
        first += run;
        mct_walk_on(index, d->dims, run);
    }
}
