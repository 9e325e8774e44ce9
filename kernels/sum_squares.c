#include "sum_squares.h"
#include "simd/simd.h"

enum { LANES = 8 };

void MCT_KERNEL(sum_squares)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_sum_squares *d = args;
    const mct_elem *x = d->x;
    (void)workers;
    if (worker != 0)
        return;
    float lanes[LANES] = {0.0f};
    for (uint32_t i = 0; i < d->count; i++) {
        const float v = mct_widen(x[i]);
        lanes[i % LANES] += v * v;
    }
    float sum = 0.0f;
    for (uint32_t lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    *d->y = mct_canonical(sum);
}
