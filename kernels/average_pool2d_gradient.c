#include "average_pool2d_gradient.h"
#include "simd/simd.h"

static void mct_sum_of_shares(const struct mct_average_pool2d_gradient *d, struct mct_pool2d_item at,
                              float *restrict sum) {
    const uint32_t y = at.row + d->pad_top, x = at.column + d->pad_left;
    uint32_t row, last_row, first_column, last_column;
    mct_pool2d_windows(y, d->kernel_height, d->stride_height, d->dilation_height, d->out_height, &row,
                       &last_row);
    mct_pool2d_windows(x, d->kernel_width, d->stride_width, d->dilation_width, d->out_width, &first_column,
                       &last_column);
    for (; row < last_row; row++) {
        if ((y - row * d->stride_height) % d->dilation_height != 0)
            continue;
        for (uint32_t column = first_column; column < last_column; column++) {
            if ((x - column * d->stride_width) % d->dilation_width != 0)
                continue;
            const float count = MCT_AVERAGE_POOL2D_COUNT(d, row, column);
            const mct_elem *dy =
                (const mct_elem *)d->dy + at.channel +
                mct_pool2d_offset(at.batch, row, column, d->out_height, d->out_width, d->channels);
            for (uint32_t c = 0; c < at.channels; c++)
                sum[c] += mct_widen(dy[c]) / count;
        }
    }
}

void MCT_KERNEL(average_pool2d_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_average_pool2d_gradient *d = args;
    uint32_t item, last;
    mct_split(mct_pool2d_items(d->batch * d->height * d->width, d->channels), worker, workers, &item, &last);
    for (; item < last; item++) {
        const struct mct_pool2d_item at = mct_pool2d_item(item, d->height, d->width, d->channels);
        float sum[MCT_POOL2D_CHANNELS];
        for (uint32_t c = 0; c < at.channels; c++)
            sum[c] = 0.0f;
        mct_sum_of_shares(d, at, sum);
        mct_elem *dx = (mct_elem *)d->dx + at.channel +
                       mct_pool2d_offset(at.batch, at.row, at.column, d->height, d->width, d->channels);
        for (uint32_t c = 0; c < at.channels; c++)
            dx[c] = mct_narrow(sum[c]);
    }
}
