/* The step of sgd.h; where mask is 0 the weight stays, its momentum goes on. */
#ifndef MCT_MASKED_SGD_H
#define MCT_MASKED_SGD_H

#include "elements.h"

struct mct_masked_sgd {
    float *w;
    float *g;
    float *v;           /* [count] or null */
    const float *hyper; /* rate, momentum, weight decay, inverse batch */
    const float *scale; /* [1], loss scale */
    const int32_t *overflow;
    const uint8_t *mask;
    uint32_t count;
};

MCT_DECLARE(masked_sgd)

#endif
