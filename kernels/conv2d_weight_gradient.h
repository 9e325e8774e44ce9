/* Weight gradient of a convolution: acc[out_channels][kernel_h][kernel_w][channels/groups] += dy (x) x;
 * with `squares`, acc += the square of that.
 *
 * x[batch][height][width][channels], dy[batch][out_height][out_width][out_channels].
 * The workspace of each worker holds four elements of MCT_CHUNK_PIXELS windows. */
#ifndef MCT_CONV2D_WEIGHT_GRADIENT_H
#define MCT_CONV2D_WEIGHT_GRADIENT_H

#include "mct.h"

/* Output pixels gathered at a time: even, so that no pair is cut. */
enum { MCT_CHUNK_PIXELS = 64 };

struct mct_conv2d_weight_gradient {
    const void *x;
    const void *dy;
    float *acc;
    void *workspace;
    uint32_t workspace_stride; /* bytes per worker */
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width, out_channels;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t groups;
    uint32_t squares;                 /* 0 or 1 */
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(conv2d_weight_gradient)

#endif
