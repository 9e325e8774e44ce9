/* sums[p] = the sum of a * b over portion p: eight sums of the elements i mod 8, then those in order;
 * products round, then sums */
#ifndef MCT_DOT_PORTIONS_H
#define MCT_DOT_PORTIONS_H

#include "portions.h"

struct mct_dot_portions {
    const float *a;
    const float *b;
    float *sums; /* [8] */
    uint32_t count;
};

MCT_DECLARE(dot_portions)

#endif
