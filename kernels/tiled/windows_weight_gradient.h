/* The weight gradient of a convolution whose x has few channels, as a product of windows that are put
 * together in L1. */
#ifndef MCT_TILED_WINDOWS_WEIGHT_GRADIENT_H
#define MCT_TILED_WINDOWS_WEIGHT_GRADIENT_H

#include "conv2d_weight_gradient.h"
#include "tiled/product_tn.h"
#include "tiled/windows.h"

/* Rows of a window that are long enough for other ways, which need an even number of output columns. */
enum { MCT_WINDOWS_NARROW = 16 };

/* The pairs of pixels [first, last) of the tile that begins with pixel `start`: lines of their windows, which
 * become pairs of lines. One that is not there is zero. */
MCT_INLINE void mct_windows_pairs(const struct mct_windows *w, mct_elem *lines, uint32_t pitch,
                                  uint32_t start, uint32_t pixels, uint32_t first, uint32_t last) {
    const uint32_t pixel = 2 * first, end = mct_min(2 * last, pixels);
    if (first == last)
        return;
    mct_windows_gather(w, lines + pixel * pitch, pitch, start + pixel, end - pixel);
    if (end < 2 * last)
        mct_x_zero(lines + end * pitch, pitch / 2);
    mct_tn_pair_rows(lines, pitch, first, last);
}

/* In L1: x, x padded, the pieces of acc; windows of so many pairs of pixels as fit, and their dy. */
static bool mct_windows_weight_gradient(const struct mct_conv2d_weight_gradient *d, uint32_t worker,
                                        uint32_t workers) {
    if (d->batch != 1 || d->groups != 1 || d->dilation_w != 1 || d->out_channels % MCT_TN_ROWS ||
        d->kernel_w * d->channels >= MCT_WINDOWS_NARROW)
        return false;
    struct mct_windows w = {
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
    if (!mct_windows_plan(&w, &l1))
        return false;
    uint8_t *places = mct_l1_take(&l1, MCT_TN_BYTES);
    struct mct_tn t = mct_tn(d->acc, d->out_channels, w.depth, places);
    const uint32_t pair = 2 * (t.pitch + d->out_channels) * sizeof(mct_elem);
    if (!places || l1.left < pair + 64)
        return false;
    const uint32_t pixels = d->out_height * d->out_width;
    const uint32_t asked = (mct_min(d->tile_rows, d->out_height) * d->out_width + 1) / 2;
    uint32_t fitting = (l1.left - 64) / pair;
    if (asked > fitting)
        return false;
    if (d->squares && 2 * (asked ? asked : fitting) < pixels) {
        t.kept = mct_l1_take(&l1, mct_tn_kept(&t) * sizeof(float));
        fitting = l1.left < 64 ? 0 : (l1.left - 64) / pair;
        if (!t.kept || fitting < asked || fitting == 0)
            return false;
    }
    const uint32_t most = 2 * (asked ? asked : fitting);
    mct_elem *lines = mct_l1_take(&l1, (most * t.pitch + 2) * sizeof(mct_elem));
    mct_elem *dy = mct_l1_take(&l1, most * d->out_channels * sizeof(mct_elem));
    uint32_t group = mct_dma_begin();
    if (worker == 0)
        mct_windows_bring(&w);
    mct_windows_zero(&w, worker, workers);
    for (uint32_t start = 0; start < pixels; start += most) {
        const uint32_t count = mct_min(most, pixels - start), pairs = (count + 1) / 2;
        uint32_t first, last;
        mct_split(pairs, worker, workers, &first, &last);
        mct_dma_wait(group);
        mct_barrier(); /* x is here and its zeros; or all are done with the tile before */
        group = mct_dma_begin();
        mct_tn_bring_rows(dy, (const mct_elem *)d->dy + start * d->out_channels, count, d->out_channels,
                          first, last);
        if (start == 0) {
            mct_windows_pad(&w, worker, workers);
            mct_barrier();
        }
        struct mct_tn_piece piece;
        const struct mct_tn_share share = mct_tn_begin(&t, worker, workers, &piece);
        mct_windows_pairs(&w, lines, t.pitch, start, count, first, last);
        mct_dma_wait(group);
        mct_tn_pair_rows(dy, d->out_channels, first, last);
        mct_barrier();
        if (d->squares)
            mct_tn_run_squares(&t, share, piece, lines, dy, pairs, start == 0, start + most >= pixels);
        else
            mct_tn_run(&t, share, piece, lines, dy, pairs);
        group = mct_dma_begin();
    }
    mct_dma_wait(group);
    return true;
}

#endif
