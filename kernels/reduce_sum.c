#include "reduce_sum.h"
#include "simd/simd.h"

static float mct_reduced(const struct mct_reduce_sum *d, const mct_elem *x) {
    const uint32_t length = d->reduced_dims[MCT_RANK - 1], stride = d->reduced_strides[MCT_RANK - 1];
    float sum = 0.0f;
    uint32_t index[MCT_RANK] = {0};
    for (uint32_t done = 0; done < d->reduced_count; done += length) {
        const mct_elem *row = x + mct_walk_offset(index, d->reduced_strides);
        for (uint32_t i = 0; i < length; i++)
            sum += mct_widen(row[i * stride]);
        mct_walk_on(index, d->reduced_dims, length);
    }
    return mct_canonical(sum);
}

void MCT_KERNEL(reduce_sum)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_reduce_sum *d = args;
    uint32_t i, last, index[MCT_RANK];
    mct_split(d->count, worker, workers, &i, &last);
    mct_walk_start(index, d->dims, i);
    for (; i < last; i++) {
        const float sum = mct_reduced(d, (const mct_elem *)d->x + mct_walk_offset(index, d->strides));
        if (d->y_f32)
            ((float *)d->y)[i] = sum;
        else
            ((mct_elem *)d->y)[i] = mct_narrow(sum);
        mct_walk_on(index, d->dims, 1);
    }
}
