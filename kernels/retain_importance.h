/* importance[count] of the samples that are left: quarter octaves of
 * max(0, (N * importance - n * (acc * factor)) / (N - n)), retention = {N, n, factor}. */
#ifndef MCT_RETAIN_IMPORTANCE_H
#define MCT_RETAIN_IMPORTANCE_H

#include "elements.h"

struct mct_retain_importance {
    const float *acc;
    const float *retention; /* [3] */
    uint8_t *importance;
    uint32_t count;
};

MCT_DECLARE(retain_importance)

#endif
