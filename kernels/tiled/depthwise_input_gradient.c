/* Input gradient of a depthwise convolution through L1: a variant for binary16, 3 by 3 taps, stride 1 and
 * channels in fours. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_input_gradient)
#include "../depthwise_input_gradient.c"
#include "tiled/depthwise_walk.h"

/* It is a convolution of dy whose taps go the other way. */
void MCT_TILED(depthwise_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_input_gradient *d = args;
    struct mct_depthwise_walk k = {
        .x = d->dy,
        .w = d->w,
        .y = d->dx,
        .bound = 0x80008000u,
        .batch = d->batch,
        .height = d->out_height,
        .width = d->out_width,
        .out_height = d->height,
        .out_width = d->width,
        .channels = d->channels,
        .row_step = 1,
        .column_step = 1,
        .tap_row = -(int32_t)d->dilation_h,
        .tap_column = -(int32_t)d->dilation_w,
        .top = (int32_t)d->pad_top,
        .left = (int32_t)d->pad_left,
        .tile_rows = d->tile_rows,
        .part = d->tile_columns,
    };
    if (d->kernel_h == 3 && d->kernel_w == 3 && d->channels % 4 == 0 && d->stride_h == 1 &&
        d->stride_w == 1 && mct_depthwise_plan(&k))
        mct_depthwise(&k, worker, workers);
    else
        mct_any_shape_depthwise_input_gradient(args, worker, workers);
}
#else
#include "../depthwise_input_gradient.c"
#endif
