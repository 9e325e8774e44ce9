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

/* Where results and their taps are in a tile: bytes to the next, and elements of the first. */
struct mct_depthwise_way {
    bool down; /* rows of results and of taps are the same: they are walked down, a column after the other */
    int32_t pixel, row, result;
    uint32_t first; /* of x */
};

MCT_INLINE struct mct_depthwise_way mct_depthwise_way(const struct mct_depthwise_walk *k) {
    const uint32_t pitch = k->wide * k->part;
    const int32_t pixel = (int32_t)(k->part * sizeof(mct_elem));
    return (struct mct_depthwise_way){
        .down = k->row_step == 1 && mct_magnitude(k->tap_row) == 1,
        .pixel = pixel,
        .row = (int32_t)k->wide * pixel,
        .result = (int32_t)k->out_width * pixel,
        .first = (k->tap_row < 0 ? 2 * mct_magnitude(k->tap_row) * pitch : 0) +
                 (k->tap_column < 0 ? 2 * mct_magnitude(k->tap_column) * k->part : 0),
    };
}

/* Pairs [first, last) of channels of a tile, results one after the other. */
static __attribute__((noinline)) void mct_depthwise_along(const struct mct_depthwise_walk *k,
                                                          const struct mct_depthwise_way *way,
                                                          const struct mct_depthwise_step *s, uint32_t first,
                                                          uint32_t last) {
    const int32_t column = k->tap_column * way->pixel, row = k->tap_row * way->row;
    const int32_t next = (int32_t)k->column_step * way->pixel;
    const struct mct_x_steps steps = {column, row - 2 * column, next - 2 * column - 2 * row, way->pixel};
    const int32_t jump = (int32_t)k->row_step * way->row - (int32_t)k->out_width * next;
    const uint32_t place = mct_depthwise_place(s), rows = mct_depthwise_rows(k, s), at = s->channel;
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const struct mct_x_taps taps = mct_x_taps(k->w_here + at + c, k->channels);
        mct_x_depthwise(k->ys[place] + c, k->xs[place] + way->first + c, &taps, &steps,
                        k->bias ? k->bias_here + at + c : 0, k->bound, rows, k->out_width, jump);
    }
}

/* The same, columns of results one after the other. */
MCT_INLINE void mct_depthwise_down(const struct mct_depthwise_walk *k, const struct mct_depthwise_way *way,
                                   const struct mct_depthwise_step *s, uint32_t first, uint32_t last) {
    const uint32_t place = mct_depthwise_place(s), rows = mct_depthwise_rows(k, s), at = s->channel;
    const mct_elem *x = k->xs[place] + way->first;
    mct_elem *y = k->ys[place];
    int32_t row = way->row, result = way->result, back = -way->pixel, next = way->pixel;
    if (k->tap_row < 0) { /* up, as the rows of taps do */
        x += (rows - 1) * k->wide * k->part;
        y += (rows - 1) * k->out_width * k->part;
        row = -row;
        result = -result;
    }
    if (k->tap_column != 1)
        back *= k->tap_column;
    if (k->column_step != 1)
        next *= (int32_t)k->column_step;
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const struct mct_x_taps taps = mct_x_taps(k->w_here + at + c, k->channels);
        mct_x_depthwise_down(y + c, x + c, &taps, k->bias ? k->bias_here + at + c : 0, k->bound, rows, back,
                             row, result, k->out_width, next, way->pixel);
    }
}

/* Everybody has a plan of their own, all the same. */
static void mct_depthwise(const struct mct_depthwise_walk *k, uint32_t worker, uint32_t workers) {
    struct mct_depthwise_step before = {0}, s = {0}, next = {0};
    struct mct_depthwise_rows rows = mct_depthwise_rows_of(k, &s, worker, workers);
    uint32_t first, last, group = mct_dma_begin();
    mct_depthwise_bring(k, &rows, &s);
    if (worker == 0) {
        mct_l1_in(k->w_here, k->w, 9 * k->channels * sizeof(mct_elem));
        if (k->bias)
            mct_l1_in(k->bias_here, k->bias, k->channels * sizeof(float));
    }
    mct_depthwise_sides(k, 0, worker, workers);
    const struct mct_depthwise_way way = mct_depthwise_way(k);
    mct_split(k->part / 2, worker, workers, &first, &last);
    for (bool more = true; more; before = s, s = next) {
        mct_dma_wait(group);
        mct_barrier(); /* this step's x is here, the last one's y is complete and its x free */
        group = mct_dma_begin();
        if (s.turn == 0)
            mct_depthwise_sides(k, 1, worker, workers);
        more = mct_depthwise_bring_next(k, &rows, &next, worker, workers);
        if (s.turn && worker == workers - 1)
            mct_depthwise_move(k, &before, false);
        if (way.down)
            mct_depthwise_down(k, &way, &s, first, last);
        else
            mct_depthwise_along(k, &way, &s, first, last);
    }
    mct_dma_wait(group);
    mct_barrier();
    if (worker == workers - 1) {
        group = mct_dma_begin();
        mct_depthwise_move(k, &before, false);
        mct_dma_wait(group);
    }
}

#endif
