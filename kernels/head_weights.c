#include "head_weights.h"
#include "head.h"
#include "simd/simd.h"

static void solve(float *z, const float *factor, uint32_t size) {
    const float *row = factor;
    for (uint32_t k = 0; k < size; row += size - k, k++) {
        z[k] /= *row;
        for (uint32_t i = k + 1; i < size; i++)
            z[i] = __builtin_fmaf(-row[i - k], z[k], z[i]);
    }
    for (uint32_t k = size; k-- > 0;) {
        z[k] /= factor[mct_triangle_row(size, k)];
        const float *column = factor + k;
        for (uint32_t i = 0; i < k; column += size - i - 1, i++)
            z[i] = __builtin_fmaf(-*column, z[k], z[i]);
    }
}

void MCT_KERNEL(head_weights)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_head_weights *d = args;
    float *z = (float *)(void *)((uint8_t *)d->workspace + worker * d->stride);
    if (!*d->solved)
        return;
    const float unit = d->wide ? 1.0f / (32768.0f * d->scale[1]) : 1.0f;
    for (uint32_t class = worker; class < d->classes; class += workers) {
        const int32_t *k = d->targets + class * d->size, *low = k + d->classes * d->size;
        for (uint32_t i = 0; i < d->size; i++)
            z[i] = d->wide ? (float)k[i] * 0x1p+32f + (float)(uint32_t)low[i] : (float)k[i];
        solve(z, d->factor, d->size);
        mct_elem *w = (mct_elem *)d->w + class * d->depth;
        for (uint32_t i = 0; i < d->depth; i++)
            w[i] = mct_narrow(z[i] * d->scale[0] * unit);
        if (d->bias)
            d->bias[class] = mct_canonical(z[d->depth] * (float)MCT_HEAD_FULL * unit);
    }
}
