/* y = largest element of each window of x; padding is never the largest.  NaN wins. */
#ifndef MCT_MAX_POOL2D_H
#define MCT_MAX_POOL2D_H

#include "pool2d.h"

struct mct_max_pool2d {
    const void *x;
    void *y;
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width;
    uint32_t stride_height, stride_width;
    uint32_t dilation_height, dilation_width;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
};

MCT_DECLARE(max_pool2d)

#endif
