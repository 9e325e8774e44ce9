/* The kernel conv2d_forward for any shape: all of kernels/conv2d_forward.c, and what kernels/tiled falls back
 * on. */
#ifndef MCT_CONV2D_FORWARD_ANY_H
#define MCT_CONV2D_FORWARD_ANY_H

#include "conv2d_forward.h"
#include "gemm_block.h"
#include "window.h"

enum { COLUMNS_PER_ITEM = 16 };

/* Copies the window of one output pixel, zeros where it leaves the input. */
static void gather_window(mct_elem *to, const struct mct_conv2d_forward *d, struct mct_pixel p,
                          uint32_t group, uint32_t depth, bool fast) {
    bool together = d->groups == 1 && d->dilation_w == 1;
    const mct_elem *x =
        (const mct_elem *)d->x + p.sample * d->height * d->width * d->channels + group * depth;
    for (uint32_t kh = 0; kh < d->kernel_h; kh++) {
        int32_t row = mct_window_input(p.row, kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
        if (row == MCT_OUTSIDE) {
            memset(to, 0, d->kernel_w * depth * sizeof(mct_elem));
            to += d->kernel_w * depth;
            continue;
        }
        const mct_elem *line = x + (uint32_t)row * d->width * d->channels;
        uint32_t left = p.column * d->stride_w - d->pad_left;
        if (together && left < d->width && left + d->kernel_w <= d->width) {
            mct_gather(to, line + left * d->channels, d->kernel_w * depth * sizeof(mct_elem), fast);
            to += d->kernel_w * depth;
            continue;
        }
        for (uint32_t kw = 0; kw < d->kernel_w; kw++, to += depth) {
            int32_t column =
                mct_window_input(p.column, kw, d->stride_w, d->dilation_w, d->pad_left, d->width);
            if (column == MCT_OUTSIDE)
                memset(to, 0, depth * sizeof(mct_elem));
            else
                mct_gather(to, line + (uint32_t)column * d->channels, depth * sizeof(mct_elem), fast);
        }
    }
}

/* What four neighbouring pixels of a row meet in one row of the kernel: so many columns of x. */
static inline uint32_t mct_shared_columns(const struct mct_conv2d_forward *d) {
    return 3 * d->stride_w + d->kernel_w;
}

/* Bytes that gather_neighbours needs; 0 where it is not worth while, which it is when the channels are so
 * few that copies of single windows are short. */
static inline uint32_t mct_shared_bytes(const struct mct_conv2d_forward *d) {
    bool few = d->kernel_w * d->channels * sizeof(mct_elem) < 32;
    if (!MCT_HAS_FAST || !few || d->groups != 1 || d->dilation_w != 1)
        return 0;
    return d->kernel_h * mct_shared_columns(d) * d->channels * sizeof(mct_elem);
}

/* The windows of four neighbouring pixels of a row, cut out of what they share, which is copied once. */
static inline void gather_neighbours(mct_elem *windows, const struct mct_conv2d_forward *d,
                                     struct mct_pixel p, mct_elem *shared) {
    uint32_t channels = d->channels, columns = mct_shared_columns(d), window = d->kernel_w * channels;
    int32_t left = (int32_t)(p.column * d->stride_w) - (int32_t)d->pad_left;
    uint32_t before = left < 0 ? mct_min((uint32_t)-left, columns) : 0, start = left < 0 ? 0 : (uint32_t)left;
    uint32_t inside = start < d->width ? mct_min(columns - before, d->width - start) : 0;
    const mct_elem *x = (const mct_elem *)d->x + p.sample * d->height * d->width * channels;
    uint32_t ticket = mct_dma_begin();
    for (uint32_t kh = 0; kh < d->kernel_h; kh++) {
        mct_elem *to = shared + kh * columns * channels;
        int32_t row = mct_window_input(p.row, kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
        uint32_t copied = row == MCT_OUTSIDE ? 0 : inside;
        if (copied)
            mct_dma_in(to + before * channels, x + ((uint32_t)row * d->width + start) * channels,
                       copied * channels * sizeof(mct_elem));
        memset(to, 0, before * channels * sizeof(mct_elem));
        memset(to + (before + copied) * channels, 0,
               (columns - before - copied) * channels * sizeof(mct_elem));
    }
    mct_dma_wait(ticket);
    for (uint32_t r = 0; r < 4; r++)
        for (uint32_t kh = 0; kh < d->kernel_h; kh++) {
            const mct_elem *from = shared + (kh * columns + r * d->stride_w) * channels;
            for (uint32_t i = 0; i < window; i++)
                *windows++ = from[i];
        }
}

/* Items are blocks of four output pixels, cut into groups of columns when
 * there are too few of them to keep every worker busy. */
static inline void mct_conv2d_forward_any(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_forward *d = args;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    struct mct_fast fast = mct_fast_begin(worker, workers);
    bool in_fast;
    mct_elem *windows = mct_workspace(&fast, &in_fast, d->workspace, d->workspace_stride, worker);
    mct_elem *shared = in_fast && mct_shared_bytes(d) ? mct_fast_take(&fast, mct_shared_bytes(d)) : 0;
    uint32_t depth = d->channels / d->groups, taps = d->kernel_h * d->kernel_w * depth;
    const struct mct_run whole = {0, taps};
    uint32_t outputs = d->out_channels / d->groups;
    uint32_t pixels = d->batch * d->out_height * d->out_width, blocks = mct_ceil_div(pixels, 4);
    uint32_t width = blocks < 2 * workers ? COLUMNS_PER_ITEM : outputs;
    uint32_t parts = mct_ceil_div(outputs, width);
    uint32_t item, last;
    mct_split(blocks * parts, worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t first = item / parts * 4, rows = mct_min(4, pixels - first);
        uint32_t from = item % parts * width, to = mct_min(from + width, outputs);
        for (uint32_t group = 0; group < d->groups; group++) {
            struct mct_pixel p = mct_pixel_at(first, d->out_height, d->out_width);
            if (shared && rows == 4 && p.column + 4 <= d->out_width) {
                gather_neighbours(windows, d, p, shared);
            } else {
                uint32_t ticket = mct_dma_begin();
                for (uint32_t r = 0; r < rows; r++) {
                    gather_window(windows + r * taps, d, p, group, depth, in_fast);
                    mct_pixel_next(&p, d->out_height, d->out_width);
                }
                mct_dma_wait(ticket);
            }
            struct mct_finish part = finish;
            if (part.bias)
                part.bias += group * outputs;
            mct_elem *y = (mct_elem *)d->y + first * d->out_channels + group * outputs;
            mct_elem *const lines[4] = {y, y + d->out_channels, y + 2 * d->out_channels,
                                        y + 3 * d->out_channels};
            const struct mct_right right = {(const mct_elem *)d->w + group * outputs * taps, taps, &whole, 1};
            mct_rows_nt(lines, windows, taps, rows, &right, from, to, &part, &fast);
        }
    }
}

#endif
