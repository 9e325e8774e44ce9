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

static void mct_depthwise_send(const struct mct_depthwise_walk *k, struct mct_depthwise_step s) {
    const uint32_t row = k->out_width * k->channels;
    mct_l1_out(k->y + (s.sample * k->out_height + s.tile * k->tile_rows) * row, k->ys[s.place],
               mct_depthwise_rows(k, s.tile) * row * sizeof(mct_elem));
}

/* Pairs [first, last) of channels of a tile. */
static void mct_depthwise_compute(const struct mct_depthwise_walk *k, struct mct_depthwise_step s,
                                  uint32_t first, uint32_t last) {
    const uint32_t rows = mct_depthwise_rows(k, s.tile), pitch = k->wide * k->channels;
    const int32_t pixel = (int32_t)(k->channels * sizeof(mct_elem)), row = (int32_t)k->wide * pixel;
    const struct mct_x_steps steps = {
        k->tap_column * pixel, k->tap_row * row - 2 * k->tap_column * pixel,
        (int32_t)k->column_step * pixel - 2 * k->tap_column * pixel - 2 * k->tap_row * row, pixel};
    const int32_t jump = (int32_t)k->row_step * row - (int32_t)(k->out_width * k->column_step) * pixel;
    const mct_elem *tile = k->xs[s.place];
    if (k->tap_row < 0)
        tile += 2 * mct_magnitude(k->tap_row) * pitch;
    if (k->tap_column < 0)
        tile += 2 * mct_magnitude(k->tap_column) * k->channels;
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const struct mct_x_taps taps = mct_x_taps(k->w_here + c, k->channels);
        mct_x_depthwise(k->ys[s.place] + c, tile + c, &taps, &steps, k->bias ? k->bias_here + c : 0, k->bound,
                        rows, k->out_width, jump);
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
    mct_split(k->channels / 2, worker, workers, &first, &last);
    for (bool begun = false; s.sample < k->batch; before = s, s = next, begun = true) {
        mct_dma_wait(group);
        mct_barrier(); /* this step's x is here, the last one's y is complete and its x free */
        group = mct_dma_begin();
        next = mct_depthwise_next(k, s);
        if (next.sample < k->batch)
            mct_depthwise_bring(k, next, worker, workers);
        if (begun && worker == workers - 1)
            mct_depthwise_send(k, before);
        mct_depthwise_compute(k, s, first, last);
    }
    mct_dma_wait(group);
    mct_barrier();
    if (worker == workers - 1) {
        group = mct_dma_begin();
        mct_depthwise_send(k, before);
        mct_dma_wait(group);
    }
}

#endif
