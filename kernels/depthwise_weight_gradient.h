/* Weight gradient of a depthwise convolution: acc[kernel_h][kernel_w][channels] += dy (x) x, or,
 * where the sums do not begin with acc, += the square of that.
 *
 * x[batch][height][width][channels], dy[batch][out_height][out_width][channels]. */
#ifndef MCT_DEPTHWISE_WEIGHT_GRADIENT_H
#define MCT_DEPTHWISE_WEIGHT_GRADIENT_H

#include "mct.h"

struct mct_depthwise_weight_gradient {
    const void *x;
    const void *dy;
    const float *begin; /* acc; or null, and the sums begin with zeros */
    int32_t plan[38];   /* of the kernel in kernels/tiled, see its depthwise.h */
    float *acc;
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t tile_rows, tile_columns; /* what the plan was asked for, or 0 */
};

MCT_DECLARE(depthwise_weight_gradient)

#endif
