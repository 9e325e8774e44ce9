#include "retain_importance.h"
#include "importance.h"

void MCT_KERNEL(retain_importance)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_retain_importance *d = args;
    const float all = d->retention[0], gone = d->retention[1], factor = d->retention[2], left = all - gone;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const float forget = d->acc[i] * factor;
        const float rest = (all * mct_from_octaves(d->importance[i]) - gone * forget) / left;
        d->importance[i] = mct_octaves(rest);
    }
}
