#include "max_pool2d_gradient.h"
#include "simd/simd.h"

/* Clears won[c] where v[c], the element of x at (at.row, at.column), is not the
 * first largest of the window of result (row, column). */
static void mct_strike_losers(const struct mct_max_pool2d_gradient *d, struct mct_pool2d_item at,
                              uint32_t row, uint32_t column, const float *restrict v, uint8_t *restrict won) {
    for (uint32_t i = 0; i < d->kernel_height; i++) {
        const uint32_t x_row = row * d->stride_height + i * d->dilation_height - d->pad_top;
        if (x_row >= d->height) /* also when it wrapped below zero */
            continue;
        for (uint32_t j = 0; j < d->kernel_width; j++) {
            const uint32_t x_column = column * d->stride_width + j * d->dilation_width - d->pad_left;
            if (x_column >= d->width || (x_row == at.row && x_column == at.column))
                continue;
            const bool earlier = x_row < at.row || (x_row == at.row && x_column < at.column);
            const mct_elem *x =
                (const mct_elem *)d->x + at.channel +
                mct_pool2d_offset(at.batch, x_row, x_column, d->height, d->width, d->channels);
            if (earlier) {
                for (uint32_t c = 0; c < at.channels; c++) {
                    const float other = mct_widen(x[c]);
                    won[c] &= v[c] == v[c] ? other < v[c] : other == other;
                }
            } else {
                for (uint32_t c = 0; c < at.channels; c++)
                    won[c] &= v[c] != v[c] || mct_widen(x[c]) <= v[c];
            }
        }
    }
}

static void mct_sum_won_windows(const struct mct_max_pool2d_gradient *d, struct mct_pool2d_item at,
                                const float *restrict v, float *restrict sum) {
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
            uint8_t won[MCT_POOL2D_CHANNELS];
            memset(won, 1, sizeof won);
            mct_strike_losers(d, at, row, column, v, won);
            const mct_elem *dy =
                (const mct_elem *)d->dy + at.channel +
                mct_pool2d_offset(at.batch, row, column, d->out_height, d->out_width, d->channels);
            for (uint32_t c = 0; c < at.channels; c++)
                sum[c] += won[c] ? mct_widen(dy[c]) : 0.0f;
        }
    }
}

void MCT_KERNEL(max_pool2d_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_max_pool2d_gradient *d = args;
    uint32_t item, last;
    mct_split(mct_pool2d_items(d->batch * d->height * d->width, d->channels), worker, workers, &item, &last);
    for (; item < last; item++) {
        const struct mct_pool2d_item at = mct_pool2d_item(item, d->height, d->width, d->channels);
        const uint32_t offset =
            at.channel + mct_pool2d_offset(at.batch, at.row, at.column, d->height, d->width, d->channels);
        const mct_elem *x = (const mct_elem *)d->x + offset;
        mct_elem *dx = (mct_elem *)d->dx + offset;
        float v[MCT_POOL2D_CHANNELS], sum[MCT_POOL2D_CHANNELS];
        for (uint32_t c = 0; c < at.channels; c++) {
            v[c] = mct_widen(x[c]);
            sum[c] = 0.0f;
        }
        mct_sum_won_windows(d, at, v, sum);
        for (uint32_t c = 0; c < at.channels; c++)
            dx[c] = mct_narrow(sum[c]);
    }
}
