/* A convolution whose x has few channels, as a product of windows that are put together in L1. */
#ifndef MCT_TILED_WINDOWS_FORWARD_H
#define MCT_TILED_WINDOWS_FORWARD_H

#include "conv2d_forward.h"
#include "tiled/product_nt.h"
#include "tiled/windows.h"

enum { MCT_WINDOWS_WORKERS = 8, MCT_WINDOWS_NARROW = 16 };

/* In L1: x, x padded, the weights (twice, if a window has an odd number of elements), the bias; then for each
 * worker the windows of four pixels and two blocks of results. */
struct mct_windows_forward {
    struct mct_windows windows;
    const struct mct_conv2d_forward *d;
    uint32_t pitch; /* from one window or row of weights to the next: an even number */
    mct_elem *w, *w_raw;
    float *bias;
    mct_elem *lines, *y[2]; /* of this worker */
};

/* False: another way is better, or the only one. */
MCT_INLINE bool mct_windows_forward_plan(struct mct_windows_forward *k, uint32_t worker) {
    const struct mct_conv2d_forward *d = k->d;
    if (d->batch != 1 || d->groups != 1 || d->dilation_w != 1 ||
        d->kernel_w * d->channels >= MCT_WINDOWS_NARROW)
        return false;
    k->windows = (struct mct_windows){
        .x = d->x,
        .height = d->height,
        .width = d->width,
        .channels = d->channels,
        .out_height = d->out_height,
        .out_width = d->out_width,
        .kernel_h = d->kernel_h,
        .kernel_w = d->kernel_w,
        .stride_h = d->stride_h,
        .stride_w = d->stride_w,
        .dilation_h = d->dilation_h,
        .pad_top = d->pad_top,
        .pad_left = d->pad_left,
    };
    struct mct_l1 l1 = mct_l1_all();
    if (!mct_windows_plan(&k->windows, &l1))
        return false;
    k->pitch = (k->windows.depth + 1) / 2 * 2;
    k->w = mct_l1_take(&l1, d->out_channels * k->pitch * sizeof(mct_elem));
    k->w_raw = k->pitch == k->windows.depth
                   ? k->w
                   : mct_l1_take(&l1, d->out_channels * k->windows.depth * sizeof(mct_elem));
    k->bias = mct_l1_take(&l1, d->out_channels * sizeof(float));
    const uint32_t lines = ((MCT_NT_ROWS * k->pitch + 2) * sizeof(mct_elem) + 15) / 16 * 16;
    const uint32_t y = (MCT_NT_ROWS * d->out_channels * sizeof(mct_elem) + 15) / 16 * 16;
    uint8_t *own = mct_l1_take(&l1, MCT_WINDOWS_WORKERS * (lines + 2 * y));
    if (!k->w || !k->w_raw || !k->bias || !own)
        return false;
    own += worker * (lines + 2 * y);
    k->lines = (mct_elem *)(void *)own;
    k->y[0] = (mct_elem *)(void *)(own + lines);
    k->y[1] = (mct_elem *)(void *)(own + lines + y);
    return true;
}

/* The weights of a share of the output channels, with a zero behind those of each. */
MCT_INLINE void mct_windows_pad_weights(const struct mct_windows_forward *k, uint32_t worker,
                                        uint32_t workers) {
    const uint32_t depth = k->windows.depth;
    for (uint32_t c = worker; c < k->d->out_channels; c += workers) {
        mct_elem *to = k->w + c * k->pitch;
        const mct_elem *from = k->w_raw + c * depth;
        if (depth > 1)
            mct_x_copy(to, from, depth / 2);
        to[depth - 1] = from[depth - 1];
        to[depth] = 0;
    }
}

static bool mct_windows_forward(const struct mct_conv2d_forward *d, uint32_t worker, uint32_t workers) {
    struct mct_windows_forward k = {.d = d};
    if (!mct_windows_forward_plan(&k, worker))
        return false;
    const struct mct_finish finish = {d->bias ? k.bias : 0, d->activation, d->lo, d->hi};
    const uint32_t pixels = d->out_height * d->out_width, depth = k.windows.depth;
    uint32_t block, last, group = mct_dma_begin();
    if (worker == 0) {
        mct_windows_bring(&k.windows);
        mct_l1_in(k.w_raw, d->w, d->out_channels * depth * sizeof(mct_elem));
        if (d->bias)
            mct_l1_in(k.bias, d->bias, d->out_channels * sizeof(float));
    }
    mct_windows_zero(&k.windows, worker, workers);
    mct_split(mct_ceil_div(pixels, MCT_NT_ROWS), worker, workers, &block, &last);
    mct_dma_wait(group);
    mct_barrier();
    mct_windows_pad(&k.windows, worker, workers);
    if (k.w != k.w_raw)
        mct_windows_pad_weights(&k, worker, workers);
    mct_barrier();
    group = mct_dma_begin();
    for (uint32_t first = block * MCT_NT_ROWS, now = 0; block < last;
         block++, first += MCT_NT_ROWS, now ^= 1) {
        const uint32_t rows = mct_min(MCT_NT_ROWS, pixels - first);
        mct_windows_gather(&k.windows, k.lines, k.pitch, first, rows);
        if (k.pitch != depth)
            for (uint32_t i = 0; i < rows; i++)
                k.lines[i * k.pitch + depth] = 0;
        mct_nt_rows(k.y[now], k.lines, k.w, rows, d->out_channels, k.pitch, &finish);
        mct_dma_wait(group);
        group = mct_dma_begin();
        mct_dma_out((mct_elem *)d->y + first * d->out_channels, k.y[now],
                    rows * d->out_channels * sizeof(mct_elem));
    }
    mct_dma_wait(group);
    return true;
}

#endif
