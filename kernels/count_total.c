#include "count_total.h"

void MCT_KERNEL(count_total)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_count_total *d = args;
    (void)workers;
    if (worker != 0)
        return;
    int32_t total = 0;
    for (uint32_t portion = 0; portion < MCT_PORTIONS; portion++)
        total += d->counts[portion];
    *d->total = total;
}
