/* The plan of a walk, see walk.h: where its runs lie in a tile, and how much of everything fits L1. */
#ifndef MCT_TILED_WALK_PLAN_H
#define MCT_TILED_WALK_PLAN_H

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

/* Whether to round first and then to clip has the same bits. The lower bound 0 is that of ReLU. */
static bool mct_walk_can_clip(const struct mct_finish *finish) {
    return finish->activation == MCT_CLIP && mct_widen(mct_narrow(finish->lo)) == finish->lo &&
           mct_widen(mct_narrow(finish->hi)) == finish->hi && !(finish->hi == 0.0f);
}

/* Where runs lie in a tile, and how large one is; returns how many runs there are, 0 where x is not met. */
MCT_INLINE uint32_t mct_walk_reach(struct mct_walk *k) {
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
        return 0;
    if (k->left >= (int32_t)k->width)
        return 0; /* the window is all padding */
    k->tall = (uint32_t)(bottom - k->top) + 1;
    k->wide = (columns - 1) * k->column_step + (uint32_t)(right - k->left) + 1;
    if (k->left < 0 && k->wide <= (uint32_t)-k->left)
        return 0;
    for (uint32_t i = 0; i < runs; i++) {
        struct mct_walk_run *run = k->run + i;
        run->x = ((uint32_t)(run->row - k->top) * k->wide + (uint32_t)(run->column - k->left)) * k->channels;
    }
    return runs;
}

/* Takes from L1 what lies between runs, and where they cut pairs the room for what is copied. */
MCT_INLINE bool mct_walk_lay_runs(struct mct_walk *k, struct mct_l1 *l1, uint32_t runs, uint32_t workers) {
    bool copied = false;
    for (uint32_t i = 0; i < runs; i++)
        copied |= k->run[i].n % 2;
    k->pitch = copied ? (k->depth + 1) / 2 * 2 : k->depth;
    k->copied = copied ? mct_l1_take(l1, 4 * workers * k->pitch * sizeof(mct_elem)) : NULL;
    int32_t *skips = mct_l1_take(l1, 2 * (runs + k->phases) * sizeof *skips);
    if (!skips || (copied && !k->copied))
        return false;
    for (uint32_t p = 0; p < k->phases; p++)
        skips = mct_walk_skips(k, k->phase + p, skips);
    return true;
}

/* Chooses the rows of a tile and the outputs of a block of weights, or takes those asked for, so that `room`
 * elements of L1 are enough. False: they are not, even for the smallest. */
MCT_INLINE bool mct_walk_choose(struct mct_walk *k, uint32_t room, uint32_t workers) {
    const uint32_t x_row = k->wide * k->channels * k->row_step;
    const uint32_t y_row = k->out_row_step * k->out_width * k->out_channels;
    uint32_t x_more = k->wide * k->channels * k->tall; /* at least the rows beyond the first super-rows */
    x_more = x_more > x_row ? x_more - x_row : 0;
    const uint32_t weights = k->out_channels * k->pitch;
    const uint32_t outputs = k->out_channels / k->groups, blocks = mct_ceil_div(outputs, 4);
    const uint32_t asked_rows = mct_min(k->tile_rows, k->super_rows),
                   asked_blocks = mct_ceil_div(mct_min(k->chunk, outputs), 4);
    const uint32_t enough = asked_rows ? asked_rows : mct_min(4, k->super_rows);
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
    return true;
}

/* Works out the plan. False: x is not met, or not even the smallest tile fits L1. */
static bool mct_walk_plan(struct mct_walk *k, struct mct_l1 l1, uint32_t workers) {
    const uint32_t runs = mct_walk_reach(k);
    if (runs == 0 || !mct_walk_lay_runs(k, &l1, runs, workers))
        return false;
    k->clip = mct_walk_can_clip(&k->finish);
    k->x_stride = k->column_step * k->channels;
    k->y_stride = k->out_column_step * k->out_channels;
    if (!mct_walk_choose(k, l1.left / sizeof(mct_elem), workers))
        return false;
    const uint32_t buffers = k->batch * k->tiles > 1 ? 2 : 1, weight_buffers = k->chunks > 1 ? 2 : 1;
    for (uint32_t i = 0; i < 2; i++) {
        k->xs[i] = i < buffers ? mct_l1_take(&l1, k->x_tile * sizeof(mct_elem)) : k->xs[0];
        k->ys[i] = i < buffers ? mct_l1_take(&l1, k->y_tile * sizeof(mct_elem)) : k->ys[0];
        k->ws[i] = i < weight_buffers ? mct_l1_take(&l1, k->chunk * k->pitch * sizeof(mct_elem)) : k->ws[0];
    }
    return k->xs[1] && k->ys[1] && k->ws[1];
}

#endif
