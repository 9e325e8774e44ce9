/* A depthwise convolution with 3 by 3 taps as a walk over tiles in L1, forward or as input gradient.
 *
 * Each worker has pairs of channels of its own, whose weights stay in registers while the pixels go by. */
#ifndef MCT_TILED_DEPTHWISE_WALK_H
#define MCT_TILED_DEPTHWISE_WALK_H

#include "tiled/depthwise.h"

/* What the first tap of a tile's first result meets in x. */
MCT_INLINE const mct_elem *mct_depthwise_first(const struct mct_depthwise_place *p,
                                               const struct mct_depthwise_step *s) {
    const struct mct_depthwise_walk *k = p->walk;
    const mct_elem *x = mct_depthwise_x_of(p, s);
    if (k->tap_row < 0)
        x -= 2 * k->tap_row * (int32_t)k->part;
    if (k->tap_column < 0)
        x -= 2 * k->tap_column * (int32_t)k->pitch;
    return x;
}

/* One result after the other, down a column and then the next. */
static __attribute__((noinline)) void mct_depthwise_along(const struct mct_depthwise_place *p,
                                                          const struct mct_depthwise_step *s, uint32_t first,
                                                          uint32_t last) {
    const struct mct_depthwise_walk *k = p->walk;
    const int32_t pixel = (int32_t)(k->part * sizeof(mct_elem)), on = (int32_t)(k->pitch * sizeof(mct_elem));
    const int32_t column = k->tap_column * on, row = k->tap_row * pixel, next = (int32_t)k->row_step * pixel;
    const struct mct_x_steps steps = {column, row - 2 * column, next - 2 * column - 2 * row, pixel};
    const uint32_t rows = mct_depthwise_rows(k, s);
    const int32_t jump = (int32_t)k->column_step * on - (int32_t)rows * next;
    const mct_elem *x = mct_depthwise_first(p, s),
                   *w = (const mct_elem *)(const void *)p->own[0] + s->channel;
    const float *bias = (const float *)(const void *)p->own[1] + s->channel;
    mct_elem *y = mct_depthwise_y_of(p, s);
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const struct mct_x_taps taps = mct_x_taps(w + c, k->channels);
        mct_x_depthwise(y + c, x + c, &taps, &steps, k->own_from[1] ? bias + c : 0, k->bound, k->out_width,
                        rows, jump);
    }
}

/* Results go down a column and on through the next ones, if rows of taps and columns do, or one after the
 * other. */
static void mct_depthwise_tile(const struct mct_depthwise_place *p, const struct mct_depthwise_step *s,
                               uint32_t first, uint32_t last) {
    const struct mct_depthwise_walk *k = p->walk;
    if (!k->down) {
        mct_depthwise_along(p, s, first, last);
        return;
    }
    const struct mct_depthwise_down *walk = &k->walks[s->row + k->rows >= k->out_height];
    const float *bias = (const float *)(const void *)p->own[1] + s->channel;
    struct mct_x_down d = {
        .x = mct_depthwise_x_of(p, s) + walk->x + 2 * first,
        .y = mct_depthwise_y_of(p, s) + walk->y + 2 * first,
        .w = (const mct_elem *)(const void *)p->own[0] + s->channel + 2 * first,
        .tap = (int32_t)(k->channels * sizeof(mct_elem)),
        .back = k->back,
        .down = k->forth,
        .result = k->result,
        .twice = walk->twice,
        .bias = {-0.0f, -0.0f}, /* changes nothing */
        .bound = k->bound,
    };
    for (uint32_t c = 2 * first; c < 2 * last; c += 2, d.x += 2, d.y += 2, d.w += 2) {
        if (k->own_from[1])
            d.bias[0] = bias[c], d.bias[1] = bias[c + 1];
        mct_x_depthwise_down(&d, k->own_from[1] || k->bound == 0);
    }
}

/* A kernel whose structure begins as struct mct_depthwise_walk does, or, when its plan does not fit, the
 * kernel of all targets. */
MCT_INLINE void mct_depthwise(const void *args, uint32_t worker, uint32_t workers, mct_kernel any_shape) {
    struct mct_depthwise_place p;
    p.worker = worker;
    p.workers = workers;
    if (mct_depthwise_all(&p, args, 0, mct_depthwise_tile))
        return;
    any_shape(args, worker, workers);
}

#endif
