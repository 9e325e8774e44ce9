#include "gram_factor.h"
#include "head.h"

static bool factorise(float *u, uint32_t size) {
    for (uint32_t k = 0; k < size; k++) {
        float *pivot = u + mct_triangle_row(size, k), *next = pivot + (size - k);
        if (!(*pivot > 0.0f))
            return false;
        *pivot = __builtin_sqrtf(*pivot);
        for (uint32_t j = 1; j < size - k; j++)
            pivot[j] /= *pivot;
        for (uint32_t i = 1; i < size - k; i++)
            for (uint32_t j = i; j < size - k; j++, next++)
                *next = __builtin_fmaf(-pivot[i], pivot[j], *next);
    }
    return true;
}

void MCT_KERNEL(gram_factor)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_gram_factor *d = args;
    const uint32_t elements = d->size * (d->size + 1) / 2;
    (void)workers;
    if (worker != 0)
        return;
    for (uint32_t i = 0; i < elements; i++)
        d->factor[i] = (float)d->gram[i];
    for (uint32_t k = 0; k < d->size; k++)
        d->factor[mct_triangle_row(d->size, k)] += *d->ridge;
    *d->solved = factorise(d->factor, d->size);
    if (!*d->solved)
        memset(d->factor, 0, elements * sizeof(float));
}
