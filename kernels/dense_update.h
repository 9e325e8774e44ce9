/* Backward pass and gradient descent of a dense layer on one row, in one walk over its binary32 weights
 * w[columns][depth], with elements of x[depth] and dy[columns] rounded as in the forward pass:
 *
 *   dx[depth] = dy . elements(w), with the weights as they were; with `relu` zero where x is not positive
 *   *overflow = 1 if x or dy hold an infinity or a NaN; if it is set, nothing below happens
 *   q = rate * (1 / batch / scale) * dy, keep = 1 - rate * decay
 *   w = keep * w - q * x, bias = keep * bias - q
 *
 * hyper is [rate, momentum, decay, 1 / batch]; the momentum is not used. */
#ifndef MCT_DENSE_UPDATE_H
#define MCT_DENSE_UPDATE_H

#include "mct.h"

struct mct_dense_update {
    const void *x;
    const void *dy;
    float *w;
    float *bias; /* [columns] or null */
    void *dx;    /* or null */
    const float *hyper;
    const float *scale;
    int32_t *overflow;
    uint32_t columns, depth;
    bool relu; /* x is what a ReLU gave, and dx is the gradient before it */
};

MCT_DECLARE(dense_update)

#endif
