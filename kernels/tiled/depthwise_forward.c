/* Depthwise convolution through L1: a variant for binary16, 3 by 3 taps and channels in fours.
 * Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_forward)
#include "../depthwise_forward.c"
#include "tiled/depthwise_walk.h"

void MCT_TILED(depthwise_forward)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_forward *d = args;
    struct mct_depthwise_walk k = {
        .x = d->x,
        .w = d->w,
        .y = d->y,
        .bias = d->bias,
        .bound = d->activation == MCT_RELU ? 0 : 0x80008000u,
        .batch = d->batch,
        .height = d->height,
        .width = d->width,
        .out_height = d->out_height,
        .out_width = d->out_width,
        .channels = d->channels,
        .row_step = d->stride_h,
        .column_step = d->stride_w,
        .tap_row = (int32_t)d->dilation_h,
        .tap_column = (int32_t)d->dilation_w,
        .top = -(int32_t)d->pad_top,
        .left = -(int32_t)d->pad_left,
        .tile_rows = d->tile_rows,
        .part = d->tile_columns,
    };
    if (d->kernel_h == 3 && d->kernel_w == 3 && d->channels % 4 == 0 && d->activation != MCT_CLIP &&
        mct_depthwise_plan(&k))
        mct_depthwise(&k, worker, workers);
    else
        mct_any_shape_depthwise_forward(args, worker, workers);
}
#else
#include "../depthwise_forward.c"
#endif
