/* y = mean of each window of x: summed in binary32 in tap order, divided by the count, rounded once.
 *
 * The count is of the taps inside x or, with count_include_pad, inside x and its
 * padding; a window with none of them gives zero. */
#ifndef MCT_AVERAGE_POOL2D_H
#define MCT_AVERAGE_POOL2D_H

#include "pool2d.h"

struct mct_average_pool2d {
    const void *x;
    void *y;
    uint32_t count_include_pad;
    uint32_t batch, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width;
    uint32_t stride_height, stride_width;
    uint32_t dilation_height, dilation_width;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
};

/* Number of elements the window of result (row, column) is divided by, as binary32. */
#define MCT_AVERAGE_POOL2D_COUNT(d, row, column)                                                             \
    mct_average_count(mct_average_taps((row) * (d)->stride_height, (d)->kernel_height, (d)->dilation_height, \
                                       (d)->height, (d)->pad_top, (d)->pad_bottom, (d)->count_include_pad),  \
                      mct_average_taps((column) * (d)->stride_width, (d)->kernel_width, (d)->dilation_width, \
                                       (d)->width, (d)->pad_left, (d)->pad_right, (d)->count_include_pad))

MCT_INLINE uint32_t mct_average_taps(uint32_t start, uint32_t kernel, uint32_t dilation, uint32_t size,
                                     uint32_t pad_before, uint32_t pad_after, uint32_t count_include_pad) {
    if (count_include_pad)
        return mct_pool2d_taps(start, kernel, dilation, pad_before + size + pad_after);
    return mct_pool2d_taps(start, kernel, dilation, pad_before + size) -
           mct_pool2d_taps(start, kernel, dilation, pad_before);
}

MCT_INLINE float mct_average_count(uint32_t rows, uint32_t columns) {
    return rows * columns == 0 ? 1.0f : (float)(rows * columns);
}

MCT_DECLARE(average_pool2d)

#endif
