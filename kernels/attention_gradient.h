/* dx[count][channels] = 2 x[count][channels] * gradient[count] */
#ifndef MCT_ATTENTION_GRADIENT_H
#define MCT_ATTENTION_GRADIENT_H

#include "elements.h"

struct mct_attention_gradient {
    const void *x;
    const float *gradient;
    void *dx;
    uint32_t count, channels;
};

MCT_DECLARE(attention_gradient)

#endif
