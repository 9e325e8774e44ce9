/* mask[count] = 1 where |acc| > threshold (kind 0) or |w * acc| > threshold (kind 1), else 0;
 * rule = {kind, threshold}. counts[p] += how many are 1 in portion p */
#ifndef MCT_SELECT_MASK_H
#define MCT_SELECT_MASK_H

#include "portions.h"

struct mct_select_mask {
    const float *w;
    const float *acc;
    const float *rule; /* [2] */
    uint8_t *mask;
    int32_t *counts; /* [8] */
    uint32_t count;
};

MCT_DECLARE(select_mask)

#endif
