/* Softmax, or its logarithm, along the middle axis of x[outer][length][inner], in binary32, rounded once. */
#ifndef MCT_SOFTMAX_H
#define MCT_SOFTMAX_H

#include "mct.h"

struct mct_softmax {
    const void *x;
    void *y;
    uint32_t outer, length, inner;
    uint32_t logarithm;
};

MCT_DECLARE(softmax)

#endif
