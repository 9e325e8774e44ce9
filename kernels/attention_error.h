/* loss[0] = mean over rows[count] of (map - map of reference)^2, a map being energies divided by their norm
 * (zeros of a norm of zero); gradient = dloss/denergy * choice[5] * scale[0]. Worker 0 does it all */
#ifndef MCT_ATTENTION_ERROR_H
#define MCT_ATTENTION_ERROR_H

#include "elements.h"

struct mct_attention_error {
    const float *energy;
    const float *reference;
    const float *choice; /* [8] */
    const float *scale;  /* [1] */
    float *loss;
    float *gradient;
    uint32_t rows, count;
};

MCT_DECLARE(attention_error)

#endif
