/* w[count] = sign(w) * max(|w| - threshold[0], 0): the proximal step of the sum of magnitudes */
#ifndef MCT_SHRINK_H
#define MCT_SHRINK_H

#include "elements.h"

struct mct_shrink {
    float *w;
    const float *threshold; /* [1] */
    uint32_t count;
};

MCT_DECLARE(shrink)

#endif
