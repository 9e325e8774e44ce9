#include "softmax_gradient.h"
#include "mct_math.h"
#include "simd/simd.h"

void MCT_KERNEL(softmax_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_softmax_gradient *d = args;
    uint32_t item, last;
    mct_split(d->outer * d->inner, worker, workers, &item, &last);
    for (; item < last; item++) {
        const uint32_t offset = item / d->inner * d->length * d->inner + item % d->inner;
        const mct_elem *y = (const mct_elem *)d->y + offset;
        const mct_elem *dy = (const mct_elem *)d->dy + offset;
        mct_elem *dx = (mct_elem *)d->dx + offset;
        float sum = 0.0f;
        for (uint32_t i = 0; i < d->length; i++) {
            const float g = mct_widen(dy[i * d->inner]);
            sum += d->logarithm ? g : g * mct_widen(y[i * d->inner]);
        }
        for (uint32_t i = 0; i < d->length; i++) {
            const float g = mct_widen(dy[i * d->inner]), v = mct_widen(y[i * d->inner]);
            dx[i * d->inner] = mct_narrow(d->logarithm ? g - mct_exp(v) * sum : v * (g - sum));
        }
    }
}
