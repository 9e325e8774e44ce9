/* dx[count] = dy[count] * f'(x), from the activation's result y[count].
 *
 * dy passes where y is NaN, so that an overflow in the forward pass is seen in the gradients. */
#ifndef MCT_ACTIVATION_GRADIENT_H
#define MCT_ACTIVATION_GRADIENT_H

#include "activation.h"

struct mct_activation_gradient {
    const void *dy;
    const void *y;
    void *dx;
    uint32_t count;
    uint32_t activation;
    float lo, hi; /* bounds of MCT_CLIP, rounded to the element type as y is */
    float alpha;  /* slope of MCT_LEAKY_RELU below zero, not negative */
};

MCT_DECLARE(activation_gradient)

#endif
