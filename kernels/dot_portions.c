#include "dot_portions.h"
#include "simd/simd.h"

enum { LANES = 8 };

void MCT_KERNEL(dot_portions)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dot_portions *d = args;
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        float lanes[LANES] = {0.0f}, sum = 0.0f;
        uint32_t i, last;
        mct_portion(d->count, portion, &i, &last);
        for (; i < last; i++)
            lanes[i % LANES] += d->a[i] * d->b[i];
        for (uint32_t lane = 0; lane < LANES; lane++)
            sum += lanes[lane];
        d->sums[portion] = mct_canonical(sum);
    }
}
