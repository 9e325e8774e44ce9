#include "loss_scale_update.h"

void MCT_KERNEL(loss_scale_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_loss_scale_update *d = args;
    (void)workers;
    if (worker != 0)
        return;
    if (*d->overflow != 0) {
        const float half = *d->scale * 0.5f;
        *d->scale = half < d->smallest ? d->smallest : half;
        *d->good_steps = 0;
        *d->skipped_steps += 1;
        *d->overflow = 0;
        return;
    }
    *d->good_steps += 1;
    if (*d->good_steps >= d->growth_interval) {
        const float twice = *d->scale * 2.0f;
        *d->scale = twice > d->largest ? d->largest : twice;
        *d->good_steps = 0;
    }
}
