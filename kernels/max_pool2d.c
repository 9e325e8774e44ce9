#include "max_pool2d.h"
#include "simd/simd.h"

static void mct_max_of_window(const struct mct_max_pool2d *d, struct mct_pool2d_item at,
                              float *restrict best) {
    for (uint32_t c = 0; c < at.channels; c++)
        best[c] = -__builtin_inff();
    for (uint32_t i = 0; i < d->kernel_height; i++) {
        const uint32_t row = at.row * d->stride_height + i * d->dilation_height - d->pad_top;
        if (row >= d->height) /* also when it wrapped below zero */
            continue;
        for (uint32_t j = 0; j < d->kernel_width; j++) {
            const uint32_t column = at.column * d->stride_width + j * d->dilation_width - d->pad_left;
            if (column >= d->width)
                continue;
            const mct_elem *x = (const mct_elem *)d->x + at.channel +
                                mct_pool2d_offset(at.batch, row, column, d->height, d->width, d->channels);
            for (uint32_t c = 0; c < at.channels; c++) {
                const float v = mct_widen(x[c]);
                best[c] = best[c] >= v || best[c] != best[c] ? best[c] : v;
            }
        }
    }
}

void MCT_KERNEL(max_pool2d)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_max_pool2d *d = args;
    uint32_t item, last;
    mct_split(mct_pool2d_items(d->batch * d->out_height * d->out_width, d->channels), worker, workers, &item,
              &last);
    for (; item < last; item++) {
        const struct mct_pool2d_item at = mct_pool2d_item(item, d->out_height, d->out_width, d->channels);
        float best[MCT_POOL2D_CHANNELS];
        mct_max_of_window(d, at, best);
        mct_elem *y =
            (mct_elem *)d->y + at.channel +
            mct_pool2d_offset(at.batch, at.row, at.column, d->out_height, d->out_width, d->channels);
        for (uint32_t c = 0; c < at.channels; c++)
            y[c] = mct_narrow(best[c]);
    }
}
