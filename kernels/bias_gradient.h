/* Bias gradient: acc[channels] += sum over rows of dy[rows][channels]; with `squares`, acc += the
 * square of that sum. */
#ifndef MCT_BIAS_GRADIENT_H
#define MCT_BIAS_GRADIENT_H

#include "mct.h"

struct mct_bias_gradient {
    const void *dy;
    float *acc;
    uint32_t rows, channels;
    uint32_t squares; /* 0 or 1 */
};

MCT_DECLARE(bias_gradient)

#endif
