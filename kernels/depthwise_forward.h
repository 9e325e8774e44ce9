/* Depthwise convolution: y[batch][out_height][out_width][channels] = activation(x * w + bias).
 *
 * x[batch][height][width][channels], w[kernel_h][kernel_w][channels].
 * The workspace of each worker: see depthwise_block.h. */
#ifndef MCT_DEPTHWISE_FORWARD_H
#define MCT_DEPTHWISE_FORWARD_H

#include "mct.h"

struct mct_depthwise_forward {
    const void *x;
    void *y;
    const void *w;
    const float *bias; /* [channels] or null */
    int32_t plan[37];  /* of the kernel in kernels/tiled, see its depthwise.h */
    void *workspace;
    uint32_t workspace_stride; /* bytes per worker */
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t activation;
    float lo, hi;
    uint32_t tile_rows, tile_columns; /* what the plan was asked for, or 0 */
};

MCT_DECLARE(depthwise_forward)

#endif
