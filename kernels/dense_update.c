#include "dense_update.h"
#include "gemm_block.h"
#include "mct_math.h"

/* A worker has blocks of neighbouring columns of w to itself, and reads them before it updates them. */
enum { DEPTH_PER_ITEM = 8 };

static bool all_finite(const mct_elem *x, uint32_t count) {
    int found = 0;
    for (uint32_t i = 0; i < count; i++)
        found |= mct_not_finite(mct_widen(x[i]));
    return !found;
}

/* dx[k .. k + wide) */
MCT_INLINE void input_gradient(const struct mct_dense_update *d, uint32_t k, uint32_t wide) {
    static const struct mct_finish plain = {0, MCT_NO_ACTIVATION, 0, 0};
    const mct_elem *dy = d->dy;
    const float *w = d->w + k;
    float sum[DEPTH_PER_ITEM] = {0};
    uint32_t n = 0;
    for (; n + 2 <= d->columns; n += 2, w += 2 * d->depth) {
        const mct_pair g = mct_load(dy + n);
        for (uint32_t i = 0; i < wide; i++) {
            const mct_elem low = mct_narrow(w[i]), high = mct_narrow(w[d->depth + i]);
            sum[i] = mct_dot(sum[i], g, mct_join(&low, &high));
        }
    }
    if (n < d->columns)
        for (uint32_t i = 0; i < wide; i++) {
            const mct_elem low = mct_narrow(w[i]);
            sum[i] = mct_dot_low(sum[i], mct_load_low(dy + n), mct_load_low(&low));
        }
    for (uint32_t i = 0; i < wide; i++) {
        const bool stopped = d->relu && mct_widen(((const mct_elem *)d->x)[k + i]) <= 0.0f;
        ((mct_elem *)d->dx)[k + i] = stopped ? (mct_elem)0 : mct_finished(sum[i], &plain, 0);
    }
}

void MCT_KERNEL(dense_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_update *d = args;
    const mct_elem *x = d->x, *dy = d->dy;
    const float step = d->hyper[0] * (d->hyper[3] / *d->scale);
    const float keep = 1.0f - d->hyper[0] * d->hyper[2];
    /* every worker finds the same, whoever comes first */
    const bool stop = *(volatile int32_t *)d->overflow != 0;
    const bool bad = !all_finite(x, d->depth) || !all_finite(dy, d->columns);
    if (bad)
        *(volatile int32_t *)d->overflow = 1;
    uint32_t item, last;
    mct_split(mct_ceil_div(d->depth, DEPTH_PER_ITEM), worker, workers, &item, &last);
    for (; item < last; item++) {
        const uint32_t k = item * DEPTH_PER_ITEM, wide = mct_min(DEPTH_PER_ITEM, d->depth - k);
        if (d->dx) {
            if (wide == DEPTH_PER_ITEM)
                input_gradient(d, k, DEPTH_PER_ITEM);
            else
                input_gradient(d, k, wide);
        }
        if (stop || bad)
            continue;
        float v[DEPTH_PER_ITEM];
        for (uint32_t i = 0; i < wide; i++)
            v[i] = mct_widen(x[k + i]);
        for (uint32_t n = 0; n < d->columns; n++) {
            const float q = step * mct_widen(dy[n]);
            float *w = d->w + n * d->depth + k;
            for (uint32_t i = 0; i < wide; i++)
                w[i] = keep * w[i] - q * v[i];
        }
    }
    if (!d->bias || stop || bad)
        return;
    mct_split(d->columns, worker, workers, &item, &last);
    for (; item < last; item++)
        d->bias[item] = keep * d->bias[item] - step * mct_widen(dy[item]);
}
