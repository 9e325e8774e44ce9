/* Input gradient of softmax from its result y[outer][length][inner]: dx = y * (dy - sum(dy * y));
 * of its logarithm: dx = dy - exp(y) * sum(dy).  In binary32, sums in index order, rounded once. */
#ifndef MCT_SOFTMAX_GRADIENT_H
#define MCT_SOFTMAX_GRADIENT_H

#include "mct.h"

struct mct_softmax_gradient {
    const void *y;
    const void *dy;
    void *dx;
    uint32_t outer, length, inner;
    uint32_t logarithm;
};

MCT_DECLARE(softmax_gradient)

#endif
