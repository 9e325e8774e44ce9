/* sum[count] += x[count], in binary32 */
#ifndef MCT_ACCUMULATE_H
#define MCT_ACCUMULATE_H

#include "elements.h"

struct mct_accumulate {
    float *sum;
    const void *x;
    uint32_t count;
};

MCT_DECLARE(accumulate)

#endif
