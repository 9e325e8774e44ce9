#include "depthwise_weight_gradient.h"
#include "squares.h"
#include "window.h"

/* An item is one kernel offset times CHANNELS_PER_ITEM channels. */
enum { CHANNELS_PER_ITEM = 4 };

struct pixel_operands {
    const mct_elem *x, *dy;
};

/* acc[c] continues with the sum over all output pixels of dy[c] * x[c], `wide` channels from `channel` on; or
 * grows by its square. */
MCT_INLINE void sum_pixels(float *acc, const struct mct_depthwise_weight_gradient *d, uint32_t kh,
                           uint32_t kw, uint32_t channel, uint32_t wide) {
    static const mct_elem zeros[CHANNELS_PER_ITEM];
    float sum[CHANNELS_PER_ITEM];
    for (uint32_t c = 0; c < wide; c++)
        sum[c] = d->begin ? acc[c] : 0.0f;
    uint32_t pixels = d->batch * d->out_height * d->out_width;
    struct mct_pixel p = {0, 0, 0};
    for (uint32_t i = 0; i < pixels; i += 2) {
        struct pixel_operands pair[2] = {{zeros, zeros}, {zeros, zeros}};
        for (uint32_t j = 0; j < 2 && i + j < pixels; j++, mct_pixel_next(&p, d->out_height, d->out_width)) {
            int32_t row = mct_window_input(p.row, kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
            int32_t column =
                mct_window_input(p.column, kw, d->stride_w, d->dilation_w, d->pad_left, d->width);
            if (row != MCT_OUTSIDE && column != MCT_OUTSIDE)
                pair[j].x =
                    (const mct_elem *)d->x +
                    ((p.sample * d->height + (uint32_t)row) * d->width + (uint32_t)column) * d->channels +
                    channel;
            pair[j].dy = (const mct_elem *)d->dy + (i + j) * d->channels + channel;
        }
        for (uint32_t c = 0; c < wide; c++)
            sum[c] = mct_dot(sum[c], mct_join(pair[0].x + c, pair[1].x + c),
                             mct_join(pair[0].dy + c, pair[1].dy + c));
    }
    for (uint32_t c = 0; c < wide; c++)
        acc[c] = d->begin ? mct_canonical(sum[c]) : mct_square(acc[c], mct_canonical(sum[c]));
}

void MCT_KERNEL(depthwise_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_weight_gradient *d = args;
    uint32_t blocks = mct_ceil_div(d->channels, CHANNELS_PER_ITEM);
    uint32_t item, last;
    mct_split(d->kernel_h * d->kernel_w * blocks, worker, workers, &item, &last);
    for (; item < last; item++) {
        uint32_t tap = item / blocks, channel = item % blocks * CHANNELS_PER_ITEM;
        uint32_t kh = tap / d->kernel_w, kw = tap % d->kernel_w;
        float *acc = d->acc + tap * d->channels + channel;
        if (channel + CHANNELS_PER_ITEM <= d->channels)
            sum_pixels(acc, d, kh, kw, channel, CHANNELS_PER_ITEM);
        else
            sum_pixels(acc, d, kh, kw, channel, d->channels - channel);
    }
}
