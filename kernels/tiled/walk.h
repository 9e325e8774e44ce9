/* A convolution as a walk over tiles in L1, forward or as input gradient.
 *
 * x is brought to L1 in tiles of whole rows, padded with zeros, so that what an output pixel meets are runs
 * of neighbouring elements at fixed distances from one another; four pixels of a row, a fixed distance apart,
 * walk them together and share the weights. Tiles and blocks of weights are double-buffered: DMA brings
 * those of the next step while the workers compute this one.
 *
 * Where runs would cut pairs, a worker copies what four pixels meet to a place of its own, one behind the
 * other, and that is the only run.
 *
 * A group's outputs meet its own channels of the tile; a block of weights is of one group.
 *
 * Outputs come in phases: a phase's pixels meet the same runs. Forward there is one; an input gradient
 * of stride s has s * s of them, some of which may meet nothing. A super-row is one row of each phase,
 * `out_row_step` rows of y.
 *
 * L1: the structures, what lies between runs, x and y of one tile or twice of it, weights (all, or two
 * blocks), and with copied runs four rows of weights' length for each worker. */
#ifndef MCT_TILED_WALK_H
#define MCT_TILED_WALK_H

#include "../cluster.h"
#include "../gemm_block.h"
#include "../simd/runs.h"
#include "l1.h"

/* A run: where it begins in the tile and in a row of weights, and its length, in elements. */
struct mct_walk_run {
    int32_t row, column; /* of x, from the place that the pixel's super-row and column have there */
    uint32_t x, w, n;
};

struct mct_walk_phase {
    uint32_t row, column; /* of y */
    uint32_t rows, columns;
    uint32_t first, count; /* its runs, all of one length */
    /* the same for mct_run_blocks or, if `apart`, mct_run_apart */
    uint32_t x, w, runs, pairs;
    const int32_t *skips;
    bool apart;
};

enum { MCT_MOST_RUNS = 64, MCT_MOST_PHASES = 16 };

/* What the two kernels have to say; the rest is worked out by mct_walk_plan. */
struct mct_walk {
    const mct_elem *x, *w;
    mct_elem *y;
    struct mct_finish finish;
    uint32_t groups;
    uint32_t batch, height, width, channels;
    uint32_t x_sample, x_line, x_pixel; /* in memory, from one sample, row and column of x to the next */
    uint32_t out_height, out_width, out_channels, depth; /* depth: elements in a row of weights */
    uint32_t pitch;                                      /* from one row of weights to the next in L1 */
    uint32_t row_step, column_step;                      /* in x, from one pixel of a phase to the next */
    uint32_t out_row_step, out_column_step;              /* in y */
    uint32_t phases;
    struct mct_walk_phase *phase;
    struct mct_walk_run *run;
    /* the plan */
    uint32_t super_rows, tile_rows, tiles, chunk, chunks; /* tile_rows, chunk: as asked for at first, or 0 */
    int32_t top, left;                                    /* of the first super-row's tile in x */
    uint32_t tall, wide;         /* rows of x that a super-row meets; columns of a tile */
    uint32_t x_tile, y_tile;     /* elements */
    uint32_t x_stride, y_stride; /* from one pixel to the next, elements */
    mct_elem *xs[2], *ys[2], *ws[2];
    bool clip;        /* bounds that are elements may come after rounding */
    mct_elem *copied; /* 4 * pitch elements for each worker where runs cut pairs, else null */
};

/* Writes from `skips` on what lies between a phase's runs; returns where that ends. */
static int32_t *mct_walk_skips(const struct mct_walk *k, struct mct_walk_phase *phase, int32_t *skips) {
    const struct mct_walk_run *run = k->run + phase->first, *end = run + phase->count;
    phase->skips = skips;
    if (k->copied) {
        phase->x = phase->w = 0;
        phase->runs = 1;
        phase->pairs = mct_run_pairs(k->pitch);
    } else if (phase->count) {
        phase->x = run->x;
        phase->w = run->w;
        phase->runs = phase->count;
        phase->pairs = mct_run_pairs(run->n);
        for (const struct mct_walk_run *r = run + 1; r < end; r++)
            phase->apart |= r->w != r[-1].w + r->n;
        if (phase->apart) {
            *skips++ = 0;
            *skips++ = 0;
        }
        for (run++; run < end; run++) {
            const uint32_t x = run[-1].x + run->n, w = run[-1].w + run->n;
            *skips++ = mct_skip_a((int32_t)((run->x - x) * sizeof(mct_elem)));
            if (phase->apart)
                *skips++ = mct_skip_b((int32_t)((run->w - w) * sizeof(mct_elem)),
                                      (int32_t)(k->pitch * sizeof(mct_elem)));
        }
    }
    *skips++ = 0;
    return skips;
}

/* +0, not -0 */
static bool mct_is_zero(float v) {
    uint32_t bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return bits == 0;
}

/* Whether to round first and then to clip has the same bits. The lower bound 0 is that of ReLU. */
static bool mct_walk_can_clip(const struct mct_finish *finish) {
    return finish->activation == MCT_CLIP && mct_widen(mct_narrow(finish->lo)) == finish->lo &&
           mct_widen(mct_narrow(finish->hi)) == finish->hi && !(finish->hi == 0.0f);
}

/* Where runs lie in the tile, and how much of everything fits L1. False: not even the smallest tile. */
static bool mct_walk_plan(struct mct_walk *k, struct mct_l1 l1, uint32_t workers) {
    int32_t bottom = INT32_MIN, right = INT32_MIN;
    uint32_t columns = 0, runs = 0;
    k->super_rows = 0;
    k->top = k->left = INT32_MAX;
    for (uint32_t p = 0; p < k->phases; p++) {
        const struct mct_walk_phase *phase = k->phase + p;
        k->super_rows = phase->rows > k->super_rows ? phase->rows : k->super_rows;
        columns = phase->columns > columns ? phase->columns : columns;
        for (uint32_t i = phase->first; i < phase->first + phase->count; i++, runs++) {
            const struct mct_walk_run *run = k->run + i;
            int32_t last = run->column + (int32_t)((run->n - 1) / k->channels);
            k->top = run->row < k->top ? run->row : k->top;
            k->left = run->column < k->left ? run->column : k->left;
            bottom = run->row > bottom ? run->row : bottom;
            right = last > right ? last : right;
        }
    }
    if (runs == 0)
        return false;
    if (k->left >= (int32_t)k->width)
        return false; /* the window is all padding */
    k->tall = (uint32_t)(bottom - k->top) + 1;
    k->wide = (columns - 1) * k->column_step + (uint32_t)(right - k->left) + 1;
    if (k->left < 0 && k->wide <= (uint32_t)-k->left)
        return false;
    for (uint32_t i = 0; i < runs; i++) {
        struct mct_walk_run *run = k->run + i;
        run->x = ((uint32_t)(run->row - k->top) * k->wide + (uint32_t)(run->column - k->left)) * k->channels;
    }
    bool copied = false;
    for (uint32_t i = 0; i < runs; i++)
        copied |= k->run[i].n % 2;
    k->pitch = copied ? (k->depth + 1) / 2 * 2 : k->depth;
    k->copied = copied ? mct_l1_take(&l1, 4 * workers * k->pitch * sizeof(mct_elem)) : NULL;
    int32_t *skips = mct_l1_take(&l1, 2 * (runs + k->phases) * sizeof *skips);
    if (!skips || (copied && !k->copied))
        return false;
    for (uint32_t p = 0; p < k->phases; p++)
        skips = mct_walk_skips(k, k->phase + p, skips);
    k->clip = mct_walk_can_clip(&k->finish);
    k->x_stride = k->column_step * k->channels;
    k->y_stride = k->out_column_step * k->out_channels;
    uint32_t x_row = k->wide * k->channels * k->row_step;
    uint32_t y_row = k->out_row_step * k->out_width * k->out_channels;
    uint32_t x_more = k->wide * k->channels * k->tall; /* at least the rows beyond the first super-rows */
    x_more = x_more > x_row ? x_more - x_row : 0;
    uint32_t weights = k->out_channels * k->pitch, room = l1.left / sizeof(mct_elem);
    const uint32_t outputs = k->out_channels / k->groups, blocks = mct_ceil_div(outputs, 4);
    uint32_t asked_rows = mct_min(k->tile_rows, k->super_rows),
             asked_blocks = mct_ceil_div(mct_min(k->chunk, outputs), 4);
    uint32_t enough = asked_rows ? asked_rows : mct_min(4, k->super_rows);
    k->tile_rows = 0;
    /* all weights, a half of them, a third ... until four super-rows fit */
    for (uint32_t parts = 1; parts <= blocks && k->tile_rows < enough; parts++) {
        uint32_t part = asked_blocks ? mct_min(asked_blocks, blocks) : mct_ceil_div(blocks, parts);
        uint32_t chunk = part == blocks ? outputs : part * 4;
        uint32_t taken = (k->groups == 1 && part == blocks ? weights : 2 * chunk * k->pitch) + 64;
        if (taken >= room)
            continue;
        uint32_t whole = x_more + k->super_rows * (x_row + y_row), rows;
        if (k->batch == 1 && whole + taken <= room &&
            (asked_rows ? asked_rows == k->super_rows : part < blocks || k->super_rows < 2 * workers))
            rows = k->super_rows;
        else
            rows = (room - taken) / 2 < x_more ? 0 : ((room - taken) / 2 - x_more) / (x_row + y_row);
        rows = mct_min(rows, k->super_rows);
        if (asked_rows)
            rows = rows < asked_rows ? 0 : asked_rows;
        if (rows > k->tile_rows) {
            k->tile_rows = rows;
            k->chunk = mct_min(chunk, outputs);
        }
    }
    if (k->tile_rows == 0)
        return false;
    k->tiles = mct_ceil_div(k->super_rows, k->tile_rows);
    if (!asked_rows)
        k->tile_rows = mct_ceil_div(k->super_rows, k->tiles);
    k->chunks = k->groups * mct_ceil_div(outputs, k->chunk);
    k->x_tile = (x_more + k->tile_rows * x_row + 1) / 2 * 2;
    k->y_tile = (k->tile_rows * y_row + 1) / 2 * 2;
    uint32_t buffers = k->batch * k->tiles > 1 ? 2 : 1, weight_buffers = k->chunks > 1 ? 2 : 1;
    for (uint32_t i = 0; i < 2; i++) {
        k->xs[i] = i < buffers ? mct_l1_take(&l1, k->x_tile * sizeof(mct_elem)) : k->xs[0];
        k->ys[i] = i < buffers ? mct_l1_take(&l1, k->y_tile * sizeof(mct_elem)) : k->ys[0];
        k->ws[i] = i < weight_buffers ? mct_l1_take(&l1, k->chunk * k->pitch * sizeof(mct_elem)) : k->ws[0];
    }
    return k->xs[1] && k->ys[1] && k->ws[1];
}

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
static __attribute__((noinline)) void
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
static __attribute__((noinline)) void mct_walk_share(const struct mct_walk *k, const struct mct_step *s,
                                                     const struct mct_walk_phase *phase, uint32_t worker,
                                                     uint32_t workers) {
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

static void mct_walk(const struct mct_walk *k, uint32_t worker, uint32_t workers) {
    struct mct_step s = {0}, next = {0}, before = {0};
    uint32_t loading = 0, storing = 0;
    bool more = true, stored = false;
    if (worker == 0) {
        loading = mct_dma_begin();
        mct_walk_load(k, &s, true);
    }
    mct_walk_zero_sides(k, worker, workers);
    for (bool first = true; more; first = false) {
        if (worker == 0) {
            mct_dma_wait(loading);
            if (stored && s.chunk == 0) {
                mct_dma_wait(storing);
                stored = false;
            }
        }
        mct_barrier();
        more = mct_walk_next(k, &next);
        if (worker == 0) {
            if (s.chunk == 0 && !first) {
                storing = mct_dma_begin();
                mct_walk_store(k, &before);
                stored = true;
            }
            loading = mct_dma_begin();
            if (more)
                mct_walk_load(k, &next, false);
        }
        for (uint32_t p = 0; p < k->phases; p++)
            mct_walk_share(k, &s, k->phase + p, worker, workers);
        before = s;
        s = next;
    }
    mct_barrier();
    if (worker == 0) {
        if (stored)
            mct_dma_wait(storing);
        mct_dma_wait(loading);
        storing = mct_dma_begin();
        mct_walk_store(k, &before);
        mct_dma_wait(storing);
    }
}

#endif
