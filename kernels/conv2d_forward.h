/* Convolution: y[batch][out_height][out_width][out_channels] = activation(x * w + bias).
 *
 * x[batch][height][width][channels], w[out_channels][kernel_h][kernel_w][channels/groups].
 * The workspace of each worker holds the windows of four output pixels:
 * 4 * kernel_h * kernel_w * channels/groups elements. */
#ifndef MCT_CONV2D_FORWARD_H
#define MCT_CONV2D_FORWARD_H

#include "mct.h"

struct mct_conv2d_forward {
    const void *x;
    const void *w;
    const float *bias; /* [out_channels] or null */
    void *y;
    void *workspace;
    uint32_t workspace_stride; /* bytes per worker */
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width, out_channels;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t groups;
    uint32_t activation;
    float lo, hi;
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(conv2d_forward)

#endif
