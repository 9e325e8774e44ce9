/* A dense layer on one row, whose weights are binary32 and rounded to binary16 as they are read:
 * y[columns] = activation(x[depth] . w[columns][depth] + bias). */
#ifndef MCT_DENSE_ROUNDED_H
#define MCT_DENSE_ROUNDED_H

#include "mct.h"

struct mct_dense_rounded {
    const void *x;
    const float *w;
    const float *bias; /* [columns] or null */
    void *y;
    uint32_t columns, depth;
    uint32_t activation;
    float lo, hi;
};

MCT_DECLARE(dense_rounded)

#endif
