#include "head_features.h"
#include "head.h"
#include "simd/simd.h"

void MCT_KERNEL(head_features)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_head_features *d = args;
    const mct_elem *x = d->x;
    const float scale = d->scale[0];
    uint32_t i, last;
    mct_split_elements(d->rows * d->size, worker, workers, &i, &last);
    for (; i < last; i++) {
        const uint32_t row = i / d->size, column = i % d->size;
        d->phi[i] = column < d->depth
                        ? (int8_t)mct_quantise(mct_widen(x[row * d->depth + column]) * scale, MCT_HEAD_FULL)
                        : MCT_HEAD_FULL;
    }
}
