#include "attention_energy.h"
#include "simd/simd.h"

void MCT_KERNEL(attention_energy)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_attention_energy *d = args;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const mct_elem *x = (const mct_elem *)d->x + i * d->channels;
        float sum = 0.0f;
        for (uint32_t c = 0; c < d->channels; c++) {
            const float v = mct_widen(x[c]);
            sum += v * v;
        }
        d->energy[i] = mct_canonical(sum);
    }
}
