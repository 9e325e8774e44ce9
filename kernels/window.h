/* Where a sliding window meets its input, one axis at a time. */
#ifndef MCT_WINDOW_H
#define MCT_WINDOW_H

#include "mct.h"

enum { MCT_OUTSIDE = -1 };

/* The input position that output position o reads at kernel offset k. */
MCT_INLINE int32_t mct_window_input(uint32_t o, uint32_t k, uint32_t stride, uint32_t dilation, uint32_t pad,
                                    uint32_t size) {
    uint32_t i = o * stride + k * dilation - pad; /* left of the input wraps to a large number */
    return i < size ? (int32_t)i : MCT_OUTSIDE;
}

/* The output position that reads input position i at kernel offset k. */
MCT_INLINE int32_t mct_window_output(uint32_t i, uint32_t k, uint32_t stride, uint32_t dilation, uint32_t pad,
                                     uint32_t size) {
    int32_t at = (int32_t)(i + pad) - (int32_t)(k * dilation);
    if (at < 0)
        return MCT_OUTSIDE;
    uint32_t o = (uint32_t)at;
    if (stride > 1) {
        if (o % stride)
            return MCT_OUTSIDE;
        o /= stride;
    }
    return o < size ? (int32_t)o : MCT_OUTSIDE;
}

/* A pixel of [batch][height][width], advanced one at a time without division. */
struct mct_pixel {
    uint32_t sample, row, column;
};

MCT_INLINE struct mct_pixel mct_pixel_at(uint32_t index, uint32_t height, uint32_t width) {
    uint32_t line = index / width;
    return (struct mct_pixel){line / height, line % height, index % width};
}

MCT_INLINE void mct_pixel_next(struct mct_pixel *p, uint32_t height, uint32_t width) {
    if (++p->column == width) {
        p->column = 0;
        if (++p->row == height) {
            p->row = 0;
            p->sample++;
        }
    }
}

#endif
