/* y[count] = f(x[count]) in binary32, one rounding to the element type; NaN stays NaN. */
#ifndef MCT_ACTIVATION_H
#define MCT_ACTIVATION_H

#include "elements.h"

/* go on from MCT_RELU and MCT_CLIP */
enum { MCT_LEAKY_RELU = 3, MCT_SIGMOID = 4, MCT_TANH = 5, MCT_NEGATE = 6 };

struct mct_activation {
    const void *x;
    void *y;
    uint32_t count;
    uint32_t activation;
    float lo, hi; /* bounds of MCT_CLIP */
    float alpha;  /* slope of MCT_LEAKY_RELU below zero */
};

MCT_DECLARE(activation)

#endif
