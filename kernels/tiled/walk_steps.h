/* The steps of a walk, see walk.h, and what DMA moves for each. */
#ifndef MCT_TILED_WALK_STEPS_H
#define MCT_TILED_WALK_STEPS_H

#include "walk_plan.h"

/* Where a step is: steps go through the blocks of weights, tiles and samples. */
struct mct_step {
    uint32_t sample, tile, chunk, x, w; /* x, w: which of the two buffers */
};

static bool mct_walk_next(const struct mct_walk *k, struct mct_step *s) {
    if (k->chunks > 1)
        s->w ^= 1;
    if (++s->chunk < k->chunks)
        return true;
    s->chunk = 0;
    s->x ^= 1;
    if (++s->tile < k->tiles)
        return true;
    s->tile = 0;
    return ++s->sample < k->batch;
}

/* The columns left and right of x in a tile, which no DMA touches; for a share of the rows. */
static void mct_walk_zero_sides(const struct mct_walk *k, uint32_t worker, uint32_t workers) {
    uint32_t row, last, pitch = k->wide * k->channels, rows = k->x_tile / pitch;
    uint32_t before = k->left < 0 ? mct_min((uint32_t)-k->left, k->wide) : 0;
    uint32_t after = (uint32_t)mct_min((uint32_t)((int32_t)k->width - k->left), k->wide);
    mct_split(rows, worker, workers, &row, &last);
    for (; row < last; row++)
        for (uint32_t i = 0; i < 2; i++) {
            mct_elem *to = k->xs[i] + row * pitch;
            memset(to, 0, before * k->channels * sizeof(mct_elem));
            memset(to + after * k->channels, 0, (k->wide - after) * k->channels * sizeof(mct_elem));
        }
}

/* The outputs of a step: the first one, how many, and their group. */
struct mct_walk_outputs {
    uint32_t from, count, group;
};

static struct mct_walk_outputs mct_walk_outputs(const struct mct_walk *k, uint32_t chunk) {
    const uint32_t outputs = k->out_channels / k->groups, each = k->chunks / k->groups;
    const uint32_t group = k->groups == 1 ? 0 : chunk / each, first = (chunk - group * each) * k->chunk;
    return (struct mct_walk_outputs){group * outputs + first, mct_min(k->chunk, outputs - first), group};
}

/* Start to bring what a step needs and the one before it did not have. */
static void mct_walk_load(const struct mct_walk *k, const struct mct_step *s, bool first) {
    if (first || k->chunks > 1) {
        const struct mct_walk_outputs outputs = mct_walk_outputs(k, s->chunk);
        const uint32_t from = outputs.from, count = outputs.count;
        mct_elem *to = k->ws[s->w];
        const mct_elem *w = k->w + from * k->depth;
        if (k->pitch == k->depth)
            mct_l1_in(to, w, count * k->depth * sizeof(mct_elem));
        else
            for (uint32_t c = 0; c < count; c++, w += k->depth, to += k->pitch) {
                mct_l1_in(to, w, k->depth * sizeof(mct_elem));
                to[k->depth] = 0;
            }
    }
    if (s->chunk)
        return;
    uint32_t super = s->tile * k->tile_rows, count = mct_min(k->tile_rows, k->super_rows - super);
    uint32_t rows = (count - 1) * k->row_step + k->tall, pitch = k->wide * k->channels;
    uint32_t skip = k->left < 0 ? (uint32_t)-k->left : 0; /* columns of zeros in the tile */
    uint32_t ahead = k->left > 0 ? (uint32_t)k->left : 0; /* columns of x before the tile */
    uint32_t wide = mct_min(k->wide - skip, k->width - ahead) * k->channels;
    const mct_elem *x = k->x + s->sample * k->x_sample + ahead * k->x_pixel;
    mct_elem *to = k->xs[s->x] + skip * k->channels;
    const int32_t row = (int32_t)(super * k->row_step) + k->top;
    /* rows of the tile above x, and up to the end of x */
    const uint32_t above = row < 0 ? mct_min((uint32_t)-row, rows) : 0;
    const uint32_t end = row < (int32_t)k->height ? mct_min((uint32_t)((int32_t)k->height - row), rows) : 0;
    mct_elem *at = to + above * pitch;
    x += (uint32_t)(row + (int32_t)above) * k->x_line;
    for (uint32_t r = above; r < end; r++, at += pitch, x += k->x_line)
        if (k->x_pixel != k->channels)
            mct_dma_in_rows(at, x, wide / k->channels, k->channels * sizeof(mct_elem),
                            k->x_pixel * sizeof(mct_elem));
        else
            mct_dma_in(at, x, wide * sizeof(mct_elem));
    /* while these come */
    for (uint32_t r = 0; r < above; r++, to += pitch)
        memset(to, 0, wide * sizeof(mct_elem));
    for (uint32_t r = end; r < rows; r++, at += pitch)
        memset(at, 0, wide * sizeof(mct_elem));
}

static void mct_walk_store(const struct mct_walk *k, const struct mct_step *s) {
    uint32_t first = s->tile * k->tile_rows * k->out_row_step, pitch = k->out_width * k->out_channels;
    uint32_t rows = mct_min(k->tile_rows * k->out_row_step, k->out_height - first);
    mct_l1_out(k->y + (s->sample * k->out_height + first) * pitch, k->ys[s->x],
               rows * pitch * sizeof(mct_elem));
}

#endif
