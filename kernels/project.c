#include "project.h"
#include "simd/simd.h"

static float total(const float sums[MCT_PORTIONS]) {
    float sum = 0.0f;
    for (uint32_t portion = 0; portion < MCT_PORTIONS; portion++)
        sum += sums[portion];
    return sum;
}

void MCT_KERNEL(project)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_project *d = args;
    const float dot = total(d->dots), squares = total(d->squares);
    if (!(dot < 0.0f && squares > 0.0f))
        return;
    const float share = dot / squares;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        d->acc[i] = mct_canonical(d->acc[i] - share * d->held[i]);
}
