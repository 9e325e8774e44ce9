#include "../cluster.h"
#include "../conv2d_input_gradient_any.h"
#include "walk.h"

/* x of the walk is dy. An input pixel i meets output (i + pad - k * dilation) / stride, where that is whole:
 * it depends on i modulo stride, its phase, and for pixels of a phase it is a fixed distance from
 * (i - phase) / stride. */

/* That distance; false where tap k meets no output of this phase. */
static bool distance(uint32_t phase, uint32_t k, uint32_t stride, uint32_t dilation, uint32_t pad,
                     int32_t *to) {
    int32_t at = (int32_t)(phase + pad) - (int32_t)(k * dilation);
    uint32_t up = k * dilation * stride; /* to divide what is not negative */
    if (((uint32_t)at + up) % stride)
        return false;
    *to = (int32_t)(((uint32_t)at + up) / stride) - (int32_t)(k * dilation);
    return true;
}

/* The runs of one phase, a tap each. */
static uint32_t find_runs(const struct mct_conv2d_input_gradient *d, const struct mct_walk_phase *phase,
                          struct mct_walk_run *run) {
    uint32_t count = 0;
    for (uint32_t kh = 0; kh < d->kernel_h; kh++)
        for (uint32_t kw = 0; kw < d->kernel_w; kw++) {
            const uint32_t outputs = d->out_channels / d->groups;
            struct mct_walk_run found = {.w = (kh * d->kernel_w + kw) * outputs, .n = outputs};
            if (distance(phase->row, kh, d->stride_h, d->dilation_h, d->pad_top, &found.row) &&
                distance(phase->column, kw, d->stride_w, d->dilation_w, d->pad_left, &found.column))
                run[count++] = found;
        }
    return count;
}

/* Sets up the walk in L1; null where the kernel for any shape is to do the work. By one worker.
 *
 * With a stride and an odd number of output channels, taps that are left out would change the pairs. */
static struct mct_walk *plan(const struct mct_conv2d_input_gradient *d, uint32_t workers) {
    struct mct_l1 l1 = mct_l1_all();
    uint32_t taps = d->kernel_h * d->kernel_w, phases = d->stride_h * d->stride_w;
    if ((d->out_channels / d->groups % 2 && phases > 1) || d->width < 4 * d->stride_w)
        return NULL;
    struct mct_walk *k = mct_l1_take(&l1, sizeof *k);
    struct mct_walk_phase *phase = mct_l1_take(&l1, phases * sizeof *phase);
    struct mct_walk_run *run = mct_l1_take(&l1, phases * taps * sizeof *run);
    if (!k || !phase || !run)
        return NULL;
    for (uint32_t p = 0, runs = 0; p < phases; p++) {
        struct mct_walk_phase *to = phase + p;
        *to = (struct mct_walk_phase){.row = p / d->stride_w, .column = p % d->stride_w, .first = runs};
        to->rows = to->row < d->height ? mct_ceil_div(d->height - to->row, d->stride_h) : 0;
        to->columns = to->column < d->width ? mct_ceil_div(d->width - to->column, d->stride_w) : 0;
        to->count = find_runs(d, to, run + runs);
        runs += to->count;
    }
    *k = (struct mct_walk){
        .x = d->dy,
        .w = d->wt,
        .y = d->dx,
        .finish = {NULL, MCT_NO_ACTIVATION, 0.0f, 0.0f},
        .groups = d->groups,
        .batch = d->batch,
        .height = d->out_height,
        .width = d->out_width,
        .channels = d->out_channels,
        .x_sample = d->out_height * d->out_width * d->out_channels,
        .x_line = d->out_width * d->out_channels,
        .x_pixel = d->out_channels,
        .out_height = d->height,
        .out_width = d->width,
        .out_channels = d->channels,
        .depth = taps * d->out_channels / d->groups,
        .row_step = 1,
        .column_step = 1,
        .out_row_step = d->stride_h,
        .out_column_step = d->stride_w,
        .phases = phases,
        .phase = phase,
        .run = run,
        .tile_rows = d->tile_rows,
        .chunk = d->tile_columns,
    };
    return mct_walk_plan(k, l1, workers) ? k : NULL;
}

void MCT_KERNEL(conv2d_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_walk *k = NULL;
    MCT_SHARE(k, plan(args, workers), worker);
    if (k)
        mct_walk(k, worker, workers);
    else
        mct_conv2d_input_gradient_any(args, worker, workers);
}
