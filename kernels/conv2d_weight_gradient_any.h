/* The kernel conv2d_weight_gradient for any shape: all of kernels/conv2d_weight_gradient.c, and what
 * kernels/tiled falls back on. */
#ifndef MCT_CONV2D_WEIGHT_GRADIENT_ANY_H
#define MCT_CONV2D_WEIGHT_GRADIENT_ANY_H

#include "conv2d_weight_gradient.h"
#include "conv2d_weight_gradient_fast.h"
#include "gemm_tn_block.h"
#include "window.h"

/* An item is four neighbouring elements of the window times COLUMNS_PER_ITEM output channels. */
enum { DEPTH_PER_ITEM = 4, COLUMNS_PER_ITEM = 16 };

/* One element of the window: kernel offsets and channel of x. */
struct tap {
    uint32_t kh, kw, channel;
};

/* Element `t` of the windows of `count` output pixels from `p` on, DEPTH_PER_ITEM apart. */
static void gather_tap(mct_elem *to, const struct mct_conv2d_weight_gradient *d, struct tap t,
                       struct mct_pixel p, uint32_t count) {
    for (; count > 0; count--, to += DEPTH_PER_ITEM) {
        int32_t row = mct_window_input(p.row, t.kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
        int32_t column = mct_window_input(p.column, t.kw, d->stride_w, d->dilation_w, d->pad_left, d->width);
        if (row == MCT_OUTSIDE || column == MCT_OUTSIDE)
            *to = 0;
        else
            *to = ((const mct_elem *)
                       d->x)[((p.sample * d->height + (uint32_t)row) * d->width + (uint32_t)column) *
                                 d->channels +
                             t.channel];
        mct_pixel_next(&p, d->out_height, d->out_width);
    }
}

/* Four neighbouring channels of one kernel offset at once. */
static void gather_four(mct_elem *to, const struct mct_conv2d_weight_gradient *d, struct tap t,
                        struct mct_pixel p, uint32_t count) {
    for (; count > 0; count--, to += DEPTH_PER_ITEM) {
        int32_t row = mct_window_input(p.row, t.kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
        int32_t column = mct_window_input(p.column, t.kw, d->stride_w, d->dilation_w, d->pad_left, d->width);
        if (row == MCT_OUTSIDE || column == MCT_OUTSIDE) {
            for (uint32_t i = 0; i < DEPTH_PER_ITEM; i++)
                to[i] = 0;
        } else {
            const mct_elem *from =
                (const mct_elem *)d->x +
                ((p.sample * d->height + (uint32_t)row) * d->width + (uint32_t)column) * d->channels +
                t.channel;
            for (uint32_t i = 0; i < DEPTH_PER_ITEM; i++)
                to[i] = from[i];
        }
        mct_pixel_next(&p, d->out_height, d->out_width);
    }
}

static inline void mct_conv2d_weight_gradient_any(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = args;
    if (mct_weight_gradient_is_fast(d, workers)) {
        mct_weight_gradient_fast(d, worker, workers);
        return;
    }
    mct_elem *gathered = (mct_elem *)((uint8_t *)d->workspace + worker * d->workspace_stride);
    uint32_t channels = d->channels / d->groups, outputs = d->out_channels / d->groups;
    uint32_t depth = d->kernel_h * d->kernel_w * channels;
    uint32_t pixels = d->batch * d->out_height * d->out_width;
    uint32_t depth_blocks = mct_ceil_div(depth, DEPTH_PER_ITEM);
    uint32_t column_blocks = mct_ceil_div(outputs, COLUMNS_PER_ITEM);
    uint32_t item, last;
    mct_split(d->groups * depth_blocks * column_blocks, worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t block = item / column_blocks, group = block / depth_blocks;
        uint32_t k = block % depth_blocks * DEPTH_PER_ITEM, wide = mct_min(DEPTH_PER_ITEM, depth - k);
        uint32_t column = item % column_blocks * COLUMNS_PER_ITEM;
        uint32_t rows = mct_min(COLUMNS_PER_ITEM, outputs - column);
        struct tap taps[DEPTH_PER_ITEM];
        for (uint32_t i = 0; i < wide; i++) {
            uint32_t offset = (k + i) / channels;
            taps[i] = (struct tap){offset / d->kernel_w, offset % d->kernel_w,
                                   group * channels + (k + i) % channels};
        }
        bool one_offset = wide == DEPTH_PER_ITEM && k % channels + DEPTH_PER_ITEM <= channels;
        column += group * outputs;
        float *acc = d->acc + column * depth + k, own[COLUMNS_PER_ITEM * DEPTH_PER_ITEM];
        struct mct_tn_sums sums = mct_tn_sums_begin(acc, depth, own, rows, wide, d->squares);
        for (uint32_t first = 0; first < pixels; first += MCT_CHUNK_PIXELS) {
            uint32_t count = mct_min(MCT_CHUNK_PIXELS, pixels - first);
            struct mct_pixel p = mct_pixel_at(first, d->out_height, d->out_width);
            if (one_offset)
                gather_four(gathered, d, taps[0], p, count);
            else
                for (uint32_t i = 0; i < wide; i++)
                    gather_tap(gathered + i, d, taps[i], p, count);
            mct_rows_tn(sums.at, sums.stride, rows, wide,
                        (const mct_elem *)d->dy + first * d->out_channels + column, d->out_channels, gathered,
                        DEPTH_PER_ITEM, count);
        }
        mct_tn_sums_end(sums, acc, depth, rows, wide);
    }
}

#endif
