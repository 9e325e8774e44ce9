/* What the pooling kernels share: the geometry of their windows and the items of work.
 *
 * Tensors are [batch][height][width][channels].  Tap (i, j) of the window of
 * result (row, column) is at input row row * stride_height + i * dilation_height - pad_top,
 * and likewise for columns; padding is no part of any tensor.
 */
#ifndef MCT_POOL2D_H
#define MCT_POOL2D_H

#include "mct.h"

/* An item of work is one pixel and at most this many of its channels. */
enum { MCT_POOL2D_CHANNELS = 32 };

struct mct_pool2d_item {
    uint32_t batch, row, column;
    uint32_t channel, channels;
};

MCT_INLINE uint32_t mct_pool2d_items(uint32_t pixels, uint32_t channels) {
    return pixels * mct_ceil_div(channels, MCT_POOL2D_CHANNELS);
}

MCT_INLINE struct mct_pool2d_item mct_pool2d_item(uint32_t item, uint32_t height, uint32_t width,
                                                  uint32_t channels) {
    struct mct_pool2d_item at;
    const uint32_t groups = mct_ceil_div(channels, MCT_POOL2D_CHANNELS);
    at.channel = item % groups * MCT_POOL2D_CHANNELS;
    at.channels = mct_min(channels - at.channel, MCT_POOL2D_CHANNELS);
    item /= groups;
    at.column = item % width;
    item /= width;
    at.row = item % height;
    at.batch = item / height;
    return at;
}

MCT_INLINE uint32_t mct_pool2d_offset(uint32_t batch, uint32_t row, uint32_t column, uint32_t height,
                                      uint32_t width, uint32_t channels) {
    return ((batch * height + row) * width + column) * channels;
}

/* Along one axis: the results [first, last) whose windows may cover input position
 * `at`, which is given with the padding before it. */
MCT_INLINE void mct_pool2d_windows(uint32_t at, uint32_t kernel, uint32_t stride, uint32_t dilation,
                                   uint32_t count, uint32_t *first, uint32_t *last) {
    const uint32_t reach = (kernel - 1) * dilation;
    *first = at > reach ? mct_ceil_div(at - reach, stride) : 0;
    *last = mct_min(at / stride + 1, count);
}

/* Taps of one axis of a window that lie below `end`, counted from the start of the padding. */
MCT_INLINE uint32_t mct_pool2d_taps(uint32_t start, uint32_t kernel, uint32_t dilation, uint32_t end) {
    return start >= end ? 0 : mct_min(kernel, (end - 1 - start) / dilation + 1);
}

#endif
