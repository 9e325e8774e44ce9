#include "../cluster.h"
#include "../conv2d_forward_any.h"
#include "walk.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "windows_forward.h"
#endif

/* Sets up the walk in L1; null where the kernel for any shape is to do the work. By one worker. */
static struct mct_walk *plan(const struct mct_conv2d_forward *d, uint32_t workers) {
    struct mct_l1 l1 = mct_l1_all();
    const uint32_t channels = d->channels / d->groups, row = d->kernel_w * channels;
    bool together = d->dilation_w == 1 && d->groups == 1; /* a row of the window is one run */
    /* of x, only the pixels that are met come to L1 */
    bool sparse = d->kernel_h * d->kernel_w == 1 && d->pad_top + d->pad_left == 0;
    uint32_t runs = together ? d->kernel_h : d->kernel_h * d->kernel_w;
    if (d->out_width < 4)
        return NULL;
    struct mct_walk *k = mct_l1_take(&l1, sizeof *k);
    struct mct_walk_phase *phase = mct_l1_take(&l1, sizeof *phase);
    struct mct_walk_run *run = mct_l1_take(&l1, runs * sizeof *run);
    float *bias = mct_l1_take(&l1, d->out_channels * sizeof *bias);
    if (!k || !phase || !run || !bias)
        return NULL;
    *phase = (struct mct_walk_phase){.rows = d->out_height, .columns = d->out_width, .count = runs};
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t kh = together ? i : i / d->kernel_w, kw = together ? 0 : i % d->kernel_w;
        run[i] = (struct mct_walk_run){.row = (int32_t)(kh * d->dilation_h) - (int32_t)d->pad_top,
                                       .column = (int32_t)(kw * d->dilation_w) - (int32_t)d->pad_left,
                                       .w = (kh * d->kernel_w + kw) * channels,
                                       .n = together ? row : channels};
    }
    for (uint32_t c = 0; c < d->out_channels; c++)
        bias[c] = d->bias ? d->bias[c] : 0.0f;
    *k = (struct mct_walk){
        .x = d->x,
        .w = d->w,
        .y = d->y,
        .finish = {bias, d->activation, d->lo, d->hi},
        .groups = d->groups,
        .batch = d->batch,
        .height = sparse ? d->out_height : d->height,
        .width = sparse ? d->out_width : d->width,
        .channels = d->channels,
        .x_sample = d->height * d->width * d->channels,
        .x_line = (sparse ? d->stride_h : 1) * d->width * d->channels,
        .x_pixel = (sparse ? d->stride_w : 1) * d->channels,
        .out_height = d->out_height,
        .out_width = d->out_width,
        .out_channels = d->out_channels,
        .depth = d->kernel_h * row,
        .row_step = sparse ? 1 : d->stride_h,
        .column_step = sparse ? 1 : d->stride_w,
        .out_row_step = 1,
        .out_column_step = 1,
        .phases = 1,
        .phase = phase,
        .run = run,
        .tile_rows = d->tile_rows,
        .chunk = d->tile_columns,
    };
    return mct_walk_plan(k, l1, workers) ? k : NULL;
}

void MCT_KERNEL(conv2d_forward)(const void *args, uint32_t worker, uint32_t workers) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    if (mct_windows_forward(args, worker, workers))
        return;
#endif
    const struct mct_walk *k = NULL;
    MCT_SHARE(k, plan(args, workers), worker);
    if (k)
        mct_walk(k, worker, workers);
    else
        mct_conv2d_forward_any(args, worker, workers);
}
