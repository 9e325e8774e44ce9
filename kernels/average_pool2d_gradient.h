/* dx = sums of dy / count of the windows that cover the element: in binary32 over the windows in index
 * order, rounded once.  The count is that of average_pool2d. */
#ifndef MCT_AVERAGE_POOL2D_GRADIENT_H
#define MCT_AVERAGE_POOL2D_GRADIENT_H

#include "average_pool2d.h"

struct mct_average_pool2d_gradient {
    const void *dy;
    void *dx;
    uint32_t count_include_pad;
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width;
    uint32_t stride_height, stride_width;
    uint32_t dilation_height, dilation_width;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
};

MCT_DECLARE(average_pool2d_gradient)

#endif
