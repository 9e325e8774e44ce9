/* A depthwise convolution with 3 by 3 taps as a walk over tiles in L1, forward or as input gradient.
 *
 * Each worker has pairs of channels of its own, whose weights stay in registers while the pixels go by. */
#ifndef MCT_TILED_DEPTHWISE_WALK_H
#define MCT_TILED_DEPTHWISE_WALK_H

#include "tiled/depthwise.h"

static bool mct_depthwise_plan(struct mct_depthwise_walk *k) {
    struct mct_l1 l1 = mct_l1_all();
    k->w_here = mct_l1_take(&l1, 9 * k->channels * sizeof(mct_elem));
    k->bias_here = mct_l1_take(&l1, k->channels * sizeof(float));
    return k->bias_here && mct_depthwise_tiles(k, l1, 1);
}

/* Pairs [first, last) of channels of a tile, whose rows are walked down if results and taps follow each
 * other. */
static void mct_depthwise_compute(const struct mct_depthwise_walk *k, struct mct_depthwise_step s,
                                  uint32_t first, uint32_t last) {
    const uint32_t rows = mct_depthwise_rows(k, s.tile), pitch = k->wide * k->part;
    const int32_t pixel = (int32_t)(k->part * sizeof(mct_elem)), row = (int32_t)k->wide * pixel;
    const int32_t result = (int32_t)k->out_width * pixel;
    const bool down = k->row_step == 1 && mct_magnitude(k->tap_row) == 1;
    const struct mct_x_steps steps = {
        k->tap_column * pixel, k->tap_row * row - 2 * k->tap_column * pixel,
        (int32_t)k->column_step * pixel - 2 * k->tap_column * pixel - 2 * k->tap_row * row, pixel};
    const int32_t jump = (int32_t)k->row_step * row - (int32_t)(k->out_width * k->column_step) * pixel;
    const mct_elem *tile = k->xs[s.place];
    mct_elem *y = k->ys[s.place];
    if (k->tap_row < 0)
        tile += 2 * mct_magnitude(k->tap_row) * pitch;
    if (k->tap_column < 0)
        tile += 2 * mct_magnitude(k->tap_column) * k->part;
    if (down && k->tap_row < 0) { /* the rows of taps go up, and so the results */
        tile += (rows - 1) * pitch;
        y += (rows - 1) * k->out_width * k->part;
    }
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const struct mct_x_taps taps = mct_x_taps(k->w_here + s.part * k->part + c, k->channels);
        const float *bias = k->bias ? k->bias_here + s.part * k->part + c : 0;
        if (down)
            mct_x_depthwise_down(y + c, tile + c, &taps, bias, k->bound, rows, -k->tap_column * pixel,
                                 k->tap_row * row, k->tap_row * result, k->out_width,
                                 (int32_t)k->column_step * pixel, pixel);
        else
            mct_x_depthwise(y + c, tile + c, &taps, &steps, bias, k->bound, rows, k->out_width, jump);
    }
}

/* Everybody has a plan of their own, all the same. */
static void mct_depthwise(const struct mct_depthwise_walk *k, uint32_t worker, uint32_t workers) {
    struct mct_depthwise_step before = {0}, s = {0}, next;
    uint32_t first, last, group = mct_dma_begin();
    mct_depthwise_bring(k, s, worker, workers);
    if (worker == 0) {
        mct_l1_in(k->w_here, k->w, 9 * k->channels * sizeof(mct_elem));
        if (k->bias)
            mct_l1_in(k->bias_here, k->bias, k->channels * sizeof(float));
    }
    mct_depthwise_sides(k, worker, workers);
    mct_split(k->part / 2, worker, workers, &first, &last);
    for (bool begun = false; s.sample < k->batch; before = s, s = next, begun = true) {
        mct_dma_wait(group);
        mct_barrier(); /* this step's x is here, the last one's y is complete and its x free */
        group = mct_dma_begin();
        next = mct_depthwise_next(k, s);
        if (next.sample < k->batch)
            mct_depthwise_bring(k, next, worker, workers);
        if (begun && worker == workers - 1)
            mct_depthwise_move(k, before, false);
        mct_depthwise_compute(k, s, first, last);
    }
    mct_dma_wait(group);
    mct_barrier();
    if (worker == workers - 1) {
        group = mct_dma_begin();
        mct_depthwise_move(k, before, false);
        mct_dma_wait(group);
    }
}

#endif
