#include "attention_gradient.h"
#include "simd/simd.h"

void MCT_KERNEL(attention_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_attention_gradient *d = args;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const mct_elem *x = (const mct_elem *)d->x + i * d->channels;
        mct_elem *dx = (mct_elem *)d->dx + i * d->channels;
        for (uint32_t c = 0; c < d->channels; c++)
            dx[c] = mct_narrow(2.0f * mct_widen(x[c]) * d->gradient[i]);
    }
}
