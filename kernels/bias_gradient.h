/* Bias gradient: acc[channels] += sum over rows of dy[rows][channels]. */
#ifndef MCT_BIAS_GRADIENT_H
#define MCT_BIAS_GRADIENT_H

#include "mct.h"

struct mct_bias_gradient {
    const void *dy;
    float *acc;
    uint32_t rows, channels;
};

MCT_DECLARE(bias_gradient)

#endif
