/* Gradients of a ReLU and of the bias before it, from the ReLU's result y[rows][channels]:
 * dx = y <= 0 ? 0 : dy; acc[channels] += sum over rows of dx, or with `squares` the square
 * of that sum. */
#ifndef MCT_RELU_BIAS_GRADIENT_H
#define MCT_RELU_BIAS_GRADIENT_H

#include "mct.h"

struct mct_relu_bias_gradient {
    const void *dy;
    const void *y;
    void *dx; /* may be dy or y */
    float *acc;
    uint32_t rows, channels;
    uint32_t squares; /* 0 or 1 */
};

MCT_DECLARE(relu_bias_gradient)

#endif
