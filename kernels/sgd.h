/* Stochastic gradient descent with weight decay and, when v is given, momentum; every operation rounds once.
 *
 *   t = g * (inverse_batch / scale);  gg = t + weight_decay * w, or t without a decay
 *   with v:     v = momentum * v + gg;  w = w - rate * v
 *   without:    w = w - rate * gg
 *
 * Neither w nor v change when overflow[0] is set. g becomes 0 in any case. */
#ifndef MCT_SGD_H
#define MCT_SGD_H

#include "elements.h"

struct mct_sgd {
    float *w;
    float *g;
    float *v;           /* [count] or null */
    const float *hyper; /* rate, momentum, weight decay, inverse batch */
    const float *scale; /* [1], loss scale */
    const int32_t *overflow;
    uint32_t count;
};

MCT_DECLARE(sgd)

#endif
