/* w[count] = 0 where |w| < threshold[0]; counts[p] += how many in portion p */
#ifndef MCT_PRUNE_H
#define MCT_PRUNE_H

#include "portions.h"

struct mct_prune {
    float *w;
    const float *threshold; /* [1] */
    int32_t *counts;        /* [8] */
    uint32_t count;
};

MCT_DECLARE(prune)

#endif
