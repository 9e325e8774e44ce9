#include "store_importance.h"
#include "importance.h"

void MCT_KERNEL(store_importance)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_store_importance *d = args;
    const float factor = *d->factor;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++)
        d->importance[i] = mct_octaves(d->acc[i] * factor);
}
