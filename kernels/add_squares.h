/* acc[count] += g[count]^2: the square rounds, then the sum. */
#ifndef MCT_ADD_SQUARES_H
#define MCT_ADD_SQUARES_H

#include "elements.h"

struct mct_add_squares {
    float *acc;
    const float *g;
    uint32_t count;
};

MCT_DECLARE(add_squares)

#endif
