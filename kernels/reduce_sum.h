/* y[count] = sums of x over some of its axes: in binary32, one by one in index order, rounded once.
 *
 * Kept axes have sizes dims and strides in x; reduced axes likewise. */
#ifndef MCT_REDUCE_SUM_H
#define MCT_REDUCE_SUM_H

#include "elements.h"

struct mct_reduce_sum {
    const void *x;
    void *y;
    uint32_t count;
    uint32_t y_f32; /* y is binary32 whatever x is */
    uint32_t dims[MCT_RANK];
    uint32_t strides[MCT_RANK];
    uint32_t reduced_count;
    uint32_t reduced_dims[MCT_RANK];
    uint32_t reduced_strides[MCT_RANK];
};

MCT_DECLARE(reduce_sum)

#endif
