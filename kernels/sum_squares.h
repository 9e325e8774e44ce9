/* y[0] = sum of x[count]^2 in binary32.
 *
 * Eight sums, of the elements i, i + 8, i + 16 …, are added in order at the end:
 * fewer roundings in a row than one sum has.  Worker 0 does it all. */
#ifndef MCT_SUM_SQUARES_H
#define MCT_SUM_SQUARES_H

#include "mct.h"

struct mct_sum_squares {
    const void *x;
    float *y;
    uint32_t count;
};

MCT_DECLARE(sum_squares)

#endif
