/* dx = sums of dy of the windows in which the element is the first largest one (the first NaN if there is
 * one).
 *
 * The sums are in binary32 over the windows in index order, and rounded once.
 * Each worker makes whole elements of dx and finds the winners of its windows
 * again, which needs neither stored indices nor a binary32 copy of dx. */
#ifndef MCT_MAX_POOL2D_GRADIENT_H
#define MCT_MAX_POOL2D_GRADIENT_H

#include "pool2d.h"

struct mct_max_pool2d_gradient {
    const void *x;
    const void *dy;
    void *dx;
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width;
    uint32_t stride_height, stride_width;
    uint32_t dilation_height, dilation_width;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
};

MCT_DECLARE(max_pool2d_gradient)

#endif
