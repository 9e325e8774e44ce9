/* Input gradient of a convolution: dx[batch][height][width][channels] from
 * dy[batch][out_height][out_width][out_channels].
 *
 * wt[groups][channels/groups][kernel_h][kernel_w][out_channels/groups] is the transposed copy of the weights.
 * The workspace of each worker holds the output gradients that four input
 * pixels meet, 4 * kernel_h * kernel_w * out_channels/groups elements rounded
 * up to 16 bytes, and a struct of two words for every second tap and one more. */
#ifndef MCT_CONV2D_INPUT_GRADIENT_H
#define MCT_CONV2D_INPUT_GRADIENT_H

#include "mct.h"

struct mct_conv2d_input_gradient {
    const void *dy;
    const void *wt;
    void *dx;
    void *workspace;
    uint32_t workspace_stride; /* bytes per worker */
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width, out_channels;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t groups;
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(conv2d_input_gradient)

#endif
