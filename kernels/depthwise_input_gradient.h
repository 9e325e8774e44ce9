/* Input gradient of a depthwise convolution: dx[batch][height][width][channels] from
 * dy[batch][out_height][out_width][channels].
 *
 * w[kernel_h][kernel_w][channels].  The workspace of each worker: see depthwise_block.h. */
#ifndef MCT_DEPTHWISE_INPUT_GRADIENT_H
#define MCT_DEPTHWISE_INPUT_GRADIENT_H

#include "mct.h"

struct mct_depthwise_input_gradient {
    const void *dy;
    void *dx;
    const void *w;
    int32_t plan[38]; /* of the kernel in kernels/tiled, see its depthwise.h */
    void *workspace;
    uint32_t workspace_stride; /* bytes per worker */
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t tile_rows, tile_columns; /* what the plan was asked for, or 0 */
};

MCT_DECLARE(depthwise_input_gradient)

#endif
