/* What a worker computes of a step of a walk, see walk.h. */
#ifndef MCT_TILED_WALK_SHARE_H
#define MCT_TILED_WALK_SHARE_H

#include "walk_steps.h"

/* +0, not -0 */
static bool mct_is_zero(float v) {
    uint32_t bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return bits == 0;
}

/* A few pixels times a few outputs from `c` on, one by one. */
static __attribute__((noinline)) void mct_walk_edge(const struct mct_walk *k,
                                                    const struct mct_walk_phase *phase, const mct_elem *x,
                                                    const mct_elem *w, mct_elem *y, uint32_t c,
                                                    uint32_t channels, uint32_t pixels) {
    for (uint32_t i = 0; i < channels; i++, w += k->pitch)
        for (uint32_t r = 0; r < pixels; r++) {
            float acc[1] = {0};
            if (k->copied) {
                mct_block_1x1(acc, x + r * k->pitch, 0, w, 0, k->pitch);
                y[r * k->y_stride + i] = mct_finished(acc[0], &k->finish, c + i);
                continue;
            }
            const struct mct_walk_run *run = k->run + phase->first, *end = run + phase->count;
            for (; run < end; run++)
                mct_block_1x1(acc, x + r * k->x_stride + run->x, 0, w + run->w, 0, run->n);
            y[r * k->y_stride + i] = mct_finished(acc[0], &k->finish, c + i);
        }
}

/* What pixels of a phase meet, one run behind the other. */
static void mct_walk_copy(const struct mct_walk *k, const struct mct_walk_phase *phase, mct_elem *to,
                          const mct_elem *x, uint32_t pixels) {
    for (uint32_t r = 0; r < pixels; r++, x += k->x_stride, to += k->pitch) {
        const struct mct_walk_run *run = k->run + phase->first, *end = run + phase->count;
        for (; run < end; run++)
            mct_copy(to + run->w, x + run->x, run->n);
        if (k->pitch > k->depth)
            to[k->depth] = 0;
    }
}

/* Zeros, for a phase's pixels that meet nothing. */
static void mct_walk_zeros(const struct mct_walk *k, const struct mct_walk_phase *phase, mct_elem *y,
                           uint32_t rows, uint32_t channels, uint32_t worker, uint32_t workers) {
    uint32_t item, last;
    mct_split(rows * phase->columns, worker, workers, &item, &last);
    uint32_t row = item / phase->columns, column = item % phase->columns;
    for (; item < last; item++) {
        memset(y + ((row * k->out_row_step + phase->row) * k->out_width + phase->column) * k->out_channels +
                   column * k->y_stride,
               0, channels * sizeof(mct_elem));
        if (++column == phase->columns) {
            column = 0;
            row++;
        }
    }
}

static __attribute__((noinline)) void mct_walk_clip(const struct mct_walk *k, mct_elem *y, uint32_t count) {
    for (uint32_t r = 0; r < 4; r++, y += k->y_stride)
        for (uint32_t i = 0; i < count; i++)
            y[i] = mct_narrow(mct_activate(mct_widen(y[i]), MCT_CLIP, k->finish.lo, k->finish.hi));
}

MCT_INLINE void mct_walk_run(const struct mct_walk *k, const struct mct_walk_phase *phase,
                             struct mct_run_blocks *run) {
    mct_elem *y = run->y;
    const uint32_t count = 4 * run->blocks, quads = run->quads;
    if (k->finish.bias)
        mct_run_blocks(run);
    else if (phase->apart)
        mct_run_apart(run);
    else
        mct_run_plain(run);
    for (uint32_t q = 0; k->clip && q < quads; q++)
        mct_walk_clip(k, y + 4 * q * k->y_stride, count);
}

/* Four pixels at a time, `count` times from block `block` of the row at x and y on, and run->blocks blocks of
 * outputs from `run->bias`, y and w on; few instructions, for the sake of the cache. */
static __attribute__((noinline, aligned(16))) void
mct_walk_quads(const struct mct_walk *k, const struct mct_walk_phase *phase, struct mct_run_blocks *run,
               const mct_elem *x, mct_elem *y, const mct_elem *w, uint32_t block, uint32_t count) {
    const uint32_t x_row = k->row_step * k->wide * k->channels;
    const uint32_t y_row = k->out_row_step * k->out_width * k->out_channels;
    const uint32_t x_stride = k->x_stride, y_stride = k->y_stride, rest = phase->columns - 4;
    const uint32_t blocks = run->blocks;
    const float *bias = run->bias;
    run->a_quad = (int32_t)(4 * x_stride * sizeof(mct_elem));
    run->y_quad = (int32_t)(4 * (y_stride - blocks) * sizeof(mct_elem));
    for (uint32_t column = 4 * block, quads; count; count -= quads) {
        const uint32_t at = mct_min(column, rest);
        quads = column > rest ? 1 : mct_min(count, (phase->columns - column) / 4);
        run->a = x + at * x_stride;
        run->b = w;
        run->y = y + at * y_stride;
        run->bias = bias;
        run->blocks = blocks;
        run->quads = quads;
        mct_walk_run(k, phase, run);
        column += 4 * quads;
        if (column >= phase->columns) {
            column = 0;
            x += x_row;
            y += y_row;
        }
    }
}

/* A worker's share of one phase of a step. The last four pixels of a row may be computed twice. */
static __attribute__((noinline, aligned(16))) void mct_walk_share(const struct mct_walk *k,
                                                                  const struct mct_step *s,
                                                                  const struct mct_walk_phase *phase,
                                                                  uint32_t worker, uint32_t workers) {
    uint32_t super = s->tile * k->tile_rows;
    if (super >= phase->rows || phase->columns == 0)
        return;
    uint32_t rows = mct_min(k->tile_rows, phase->rows - super);
    uint32_t across = phase->columns < 4 ? 1 : 4, blocks = mct_ceil_div(phase->columns, across);
    const struct mct_walk_outputs outputs = mct_walk_outputs(k, s->chunk);
    const uint32_t from = outputs.from, count = outputs.count;
    if (phase->count == 0) {
        mct_walk_zeros(k, phase, k->ys[s->x] + from, rows, count, worker, workers);
        return;
    }
    mct_elem *copied = k->copied + worker * 4 * k->pitch;
    /* an item is `group` blocks of four outputs: all, unless that leaves workers without work */
    uint32_t parts = mct_ceil_div(count, 4), group = parts, quads = rows * blocks, groups = 1, item, last;
    while (group > 1 && mct_ceil_div(quads * groups, workers) * workers * 8 > quads * groups * 9) {
        group = mct_ceil_div(group, 2);
        groups = mct_ceil_div(parts, group);
    }
    mct_split(quads * groups, worker, workers, &item, &last);
    uint32_t part = item / quads, block = item % quads % blocks, row = item % quads / blocks;
    struct mct_run_blocks run; /* what is left out is the callee's, or comes below */
    run.a_step = (int32_t)((k->copied ? k->pitch : k->x_stride) * sizeof(mct_elem));
    run.b_step = (int32_t)(k->pitch * sizeof(mct_elem));
    run.y_step = (int32_t)(k->y_stride * sizeof(mct_elem));
    run.quads = 1;
    run.a_quad = run.y_quad = 0;
    run.pairs = phase->pairs;
    run.skips = phase->skips;
    run.runs = phase->runs;
    run.relu =
        k->finish.activation == MCT_RELU || (k->clip && mct_is_zero(k->finish.lo)) ? 0 : MCT_RUN_NO_RELU;
    run.b_next = (int32_t)(4 * k->pitch * sizeof(mct_elem));
    run.a_back = mct_run_back(run.a_step);
    run.b_back = mct_run_back(run.b_step);
    const uint32_t x_row = k->row_step * k->wide * k->channels;
    const uint32_t y_row = k->out_row_step * k->out_width * k->out_channels;
    const mct_elem *x0 = k->xs[s->x] + outputs.group * (k->channels / k->groups), *x = x0 + row * x_row;
    mct_elem *y0 = k->ys[s->x] + (phase->row * k->out_width + phase->column) * k->out_channels + from;
    mct_elem *y = y0 + row * y_row;
    const mct_elem *w = k->ws[s->w];
    const bool fours = across == 4 && (k->clip || k->finish.activation != MCT_CLIP);
    const bool whole = fours && count % 4 == 0 && !k->copied;
    while (item < last) {
        const uint32_t column = mct_min(block * across, phase->columns - across);
        const mct_elem *a = x + column * k->x_stride;
        mct_elem *to = y + column * k->y_stride;
        uint32_t c = part * group * 4, end = mct_min(c + group * 4, count);
        run.bias = k->finish.bias + from + c;
        run.blocks = (end - c) / 4;
        if (whole) {
            const uint32_t some = mct_min(last, (part + 1) * quads) - item;
            mct_walk_quads(k, phase, &run, x + phase->x, y + c, w + c * k->pitch + phase->w, block, some);
            item += some;
            part++;
            block = 0;
            x = x0;
            y = y0;
            continue;
        }
        if (k->copied) {
            mct_walk_copy(k, phase, copied, a, across);
            a = copied;
        }
        if (fours) {
            run.a = a + phase->x;
            run.b = w + c * k->pitch + phase->w;
            run.y = to + c;
            c += 4 * run.blocks;
            if (run.blocks)
                mct_walk_run(k, phase, &run);
        }
        if (c < end)
            mct_walk_edge(k, phase, a, w + c * k->pitch, to + c, from + c, end - c, across);
        item++;
        if (++block == blocks) {
            block = 0;
            x += x_row;
            y += y_row;
            if (item % quads == 0) {
                part++;
                x = x0;
                y = y0;
            }
        }
    }
}

#endif
