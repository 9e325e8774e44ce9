#include "prune.h"

void MCT_KERNEL(prune)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_prune *d = args;
    const float threshold = *d->threshold;
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        int32_t small = 0;
        uint32_t i, last;
        mct_portion(d->count, portion, &i, &last);
        for (; i < last; i++)
            if ((d->w[i] < 0.0f ? -d->w[i] : d->w[i]) < threshold) {
                d->w[i] = 0.0f;
                small++;
            }
        d->counts[portion] += small;
    }
}
