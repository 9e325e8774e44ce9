#include "depthwise_forward.h"
#include "depthwise_block.h"
#include "window.h"

/* Items are output pixels. */
void MCT_KERNEL(depthwise_forward)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_forward *d = args;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    uint32_t taps = d->kernel_h * d->kernel_w;
    struct mct_depthwise_taps t =
        mct_depthwise_prepare((uint8_t *)d->workspace + worker * d->workspace_stride, taps, d->channels);
    uint32_t item, last;
    mct_split(d->batch * d->out_height * d->out_width, worker, workers, &item, &last);
    struct mct_pixel p = mct_pixel_at(item, d->out_height, d->out_width);
    for (; item < last; item++, mct_pixel_next(&p, d->out_height, d->out_width)) {
        const mct_elem *x = (const mct_elem *)d->x + p.sample * d->height * d->width * d->channels;
        const mct_elem *w = d->w;
        uint32_t tap = 0;
        for (uint32_t kh = 0; kh < d->kernel_h; kh++) {
            int32_t row = mct_window_input(p.row, kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
            for (uint32_t kw = 0; kw < d->kernel_w; kw++, tap++, w += d->channels) {
                int32_t column =
                    mct_window_input(p.column, kw, d->stride_w, d->dilation_w, d->pad_left, d->width);
                bool outside = row == MCT_OUTSIDE || column == MCT_OUTSIDE;
                mct_depthwise_set(
                    &t, tap,
                    outside ? t.zeros : x + ((uint32_t)row * d->width + (uint32_t)column) * d->channels, w);
            }
        }
        mct_depthwise_pixel((mct_elem *)d->y + item * d->channels, &t, taps, d->channels, &finish);
    }
}
