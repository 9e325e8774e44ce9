#include "head_admit.h"
#include "mct_math.h"

static bool counts(const struct mct_head_admit *d, uint32_t row) {
    if (d->label)
        return (uint32_t)d->label[row] < d->classes;
    for (uint32_t i = 0; i < d->classes; i++)
        if (mct_not_finite(d->target[row * d->classes + i]))
            return false;
    return true;
}

void MCT_KERNEL(head_admit)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_head_admit *d = args;
    (void)workers;
    if (worker != 0)
        return;
    int32_t count = *d->count;
    for (uint32_t row = 0; row < d->rows; row++) {
        const bool room = d->sign > 0 ? count < d->most : count > 0;
        d->signs[row] = room && counts(d, row) ? d->sign : 0;
        count += d->signs[row];
    }
    *d->count = count;
}
