/* Gradient of the mean over a whole image, for binary16: one row of results, which DMA repeats. Other windows
 * take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(average_pool2d_gradient)
#include "../average_pool2d_gradient.c"
#include "tiled/l1.h"

enum { MOST_ROWS = 8 }; /* of a transfer */

void MCT_TILED(average_pool2d_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_average_pool2d_gradient *d = args;
    const uint32_t rows = d->height * d->width, row = d->channels * sizeof(mct_elem);
    struct mct_l1 l1 = mct_l1_all();
    const bool whole = d->kernel_height == d->height && d->kernel_width == d->width &&
                       d->out_height * d->out_width == 1 && d->dilation_height == 1 &&
                       d->dilation_width == 1 && d->pad_top + d->pad_left + d->pad_bottom + d->pad_right == 0;
    if (!whole || d->batch != 1 || d->channels % 2 || MOST_ROWS * row > l1.left) {
        mct_any_shape_average_pool2d_gradient(args, worker, workers);
        return;
    }
    mct_elem *here = mct_l1_take(&l1, MOST_ROWS * row);
    const mct_elem *dy = d->dy;
    uint32_t first, last;
    mct_split(d->channels, worker, workers, &first, &last);
    for (; first < last; first++) {
        const mct_elem share = mct_narrow(0.0f + mct_widen(dy[first]) / (float)rows);
        for (uint32_t r = 0; r < MOST_ROWS; r++)
            here[r * d->channels + first] = share;
    }
    mct_barrier();
    mct_split(rows, worker, workers, &first, &last);
    const uint32_t group = mct_dma_begin();
    for (; first < last; first += MOST_ROWS)
        mct_dma_out((mct_elem *)d->dx + first * d->channels, here, mct_min(MOST_ROWS, last - first) * row);
    mct_dma_wait(group);
}
#else
#include "../average_pool2d_gradient.c"
#endif
