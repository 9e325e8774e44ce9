/* Dynamic loss scaling after a step.
 *
 * Overflow: the scale halves (not below smallest), good_steps = 0, skipped_steps + 1.
 * Otherwise: good_steps + 1; at growth_interval the scale doubles (not above largest) and good_steps = 0.
 * Clears overflow. */
#ifndef MCT_LOSS_SCALE_UPDATE_H
#define MCT_LOSS_SCALE_UPDATE_H

#include "mct.h"

struct mct_loss_scale_update {
    float *scale;
    int32_t *overflow;
    int32_t *good_steps;
    int32_t *skipped_steps;
    int32_t growth_interval;
    float smallest, largest;
};

MCT_DECLARE(loss_scale_update)

#endif
