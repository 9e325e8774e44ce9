/* The windows of a convolution whose x has few channels: x is in L1 as a whole, with zeros around it, from
 * which windows are copied to lines. What remains is a matrix product. */
#ifndef MCT_TILED_WINDOWS_H
#define MCT_TILED_WINDOWS_H

#include "simd/windows_xpulp.h"
#include "tiled/l1.h"
#include "window.h"

/* One sample, one group, columns of the window not spread. */
struct mct_windows {
    const mct_elem *x;
    uint32_t height, width, channels, out_height, out_width;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, pad_top, pad_left;
    /* the plan, in elements */
    uint32_t row, depth;        /* of a row of the window; of the window */
    uint32_t tall, wide, pitch; /* rows of the padded x, what one needs, what it takes: an even number */
    mct_elem *raw, *padded;
};

/* Takes L1 for x as it comes and padded; false: there is not enough. */
MCT_INLINE bool mct_windows_plan(struct mct_windows *w, struct mct_l1 *l1) {
    w->row = w->kernel_w * w->channels;
    w->depth = w->kernel_h * w->row;
    w->tall = (w->out_height - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1;
    w->wide = ((w->out_width - 1) * w->stride_w + w->kernel_w) * w->channels;
    w->pitch = (w->wide + 1) / 2 * 2;
    w->raw = mct_l1_take(l1, w->height * w->width * w->channels * sizeof(mct_elem));
    w->padded = mct_l1_take(l1, (w->tall * w->pitch + 2) * sizeof(mct_elem));
    return w->raw && w->padded;
}

/* Begins: by one worker. */
MCT_INLINE void mct_windows_bring(const struct mct_windows *w) {
    mct_l1_in(w->raw, w->x, w->height * w->width * w->channels * sizeof(mct_elem));
}

MCT_INLINE void mct_windows_zero(const struct mct_windows *w, uint32_t worker, uint32_t workers) {
    uint32_t first, last;
    mct_split(w->tall * w->pitch / 2, worker, workers, &first, &last);
    mct_x_zero(w->padded + 2 * first, last - first);
}

/* When x has come and the zeros are there, for all. */
MCT_INLINE void mct_windows_pad(const struct mct_windows *w, uint32_t worker, uint32_t workers) {
    const uint32_t left = w->pad_left * w->channels, wide = w->width * w->channels;
    if (left >= w->wide)
        return;
    const uint32_t count = mct_min(wide, w->wide - left);
    for (uint32_t row = worker; row < w->height && row + w->pad_top < w->tall; row += workers) {
        const mct_elem *from = w->raw + row * wide;
        mct_elem *to = w->padded + (row + w->pad_top) * w->pitch + left;
        if (count >= 2)
            mct_x_copy(to, from, count / 2);
        if (count % 2)
            to[count - 1] = from[count - 1];
    }
}

/* The windows of `count` pixels from `first` on, one line of `pitch` elements each; an element behind the
 * window may be written. */
MCT_INLINE void mct_windows_gather(const struct mct_windows *w, mct_elem *to, uint32_t pitch, uint32_t first,
                                   uint32_t count) {
    uint32_t column = first % w->out_width;
    const mct_elem *line = w->padded + first / w->out_width * w->stride_h * w->pitch;
    const uint32_t step = w->stride_w * w->channels;
    for (const mct_elem *from = line + column * step; count; count--, to += pitch) {
        mct_x_window(to, from, w->kernel_h, w->row, w->dilation_h * w->pitch);
        from += step;
        if (++column == w->out_width) {
            column = 0;
            line += w->stride_h * w->pitch;
            from = line;
        }
    }
}

#endif
