/* Weight gradient of a convolution through L1: for every block of accumulators, products of lines that tiles
 * of x and dy have been turned to. */
#include "../cluster.h"
#include "../conv2d_weight_gradient_any.h"
#include "squares.h"
#include "turn.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "windows_weight_gradient.h"
#endif

/* A block of accumulators to L1 or from there. */
static void move_acc(const struct turn *k, uint32_t chunk, float *l1, bool in) {
    uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, k->d->out_channels - first);
    float *acc = k->d->acc + first * k->depth;
    uint32_t times = k->pitch == k->depth ? 1 : rows, bytes = rows / times * k->depth * sizeof(float);
    for (; times; times--, acc += k->depth, l1 += k->pitch)
        if (in)
            mct_l1_in(l1, acc, bytes);
        else
            mct_l1_out(acc, l1, bytes);
}

/* A share of a tile's products with a block of accumulators. */
MCT_INLINE void multiply(const struct turn *k, uint32_t chunk, float *acc, uint32_t worker,
                         uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, up(d->out_channels, 4) - first) / 4;
    uint32_t item, last;
    mct_split(rows * k->taps * k->tap_blocks, worker, workers, &item, &last);
    uint32_t block = item % k->tap_blocks, tap = item / k->tap_blocks % k->taps;
    uint32_t row = item / k->tap_blocks / k->taps;
    struct mct_run_sums run = {
        .a_step = (int32_t)(k->dy_line * sizeof(mct_elem)),
        .b_step = (int32_t)(k->x_line * sizeof(mct_elem)),
        .pairs = k->pairs,
        .b_skip = mct_skip_b(k->skip * (int32_t)sizeof(mct_elem), (int32_t)(k->x_line * sizeof(mct_elem))),
        .runs = k->runs,
        .acc_step = (int32_t)(k->pitch * sizeof(float)),
        .b_next = (int32_t)(4 * k->x_line * sizeof(mct_elem)),
    };
    run.a_back = mct_run_back(run.a_step);
    run.b_back = mct_run_back(run.b_step);
    while (item < last) {
        uint32_t blocks = mct_min(k->tap_blocks - block, last - item);
        run.a = k->dy_lines + (first + row * 4) * k->dy_line;
        run.b = k->x_lines + k->shifts[tap] + block * 4 * k->x_line;
        run.acc = acc + row * 4 * k->pitch + (tap * k->tap_blocks + block) * 4;
        run.blocks = blocks;
        mct_run_sums(&run);
        item += blocks;
        block = 0;
        if (++tap == k->taps) {
            tap = 0;
            row++;
        }
    }
}

/* Turns a share of the lines of a tile that has come, and goes on to the next one. */
MCT_INLINE void turn_tile(struct turn *k, struct step *s, uint32_t worker, uint32_t workers) {
    if (k->whole_windows)
        turn_windows(k, s, worker, workers);
    else
        turn_channels(k, s, worker, workers);
    turn_dy(k, s, worker, workers);
    if (worker == 0)
        k->runs = rows_of(k, s);
    if (++s->tile == k->tiles) {
        s->tile = 0;
        s->sample++;
    }
}

static void accumulate(struct turn *k, uint32_t worker, uint32_t workers) {
    uint32_t raw = 0, in = 0, out = 0, turns = 0, all = k->d->batch * k->tiles * k->chunks;
    struct step s = {0};
    if (worker == 0) {
        raw = mct_dma_begin();
        load(k, &s);
        in = mct_dma_begin();
        move_acc(k, 0, k->acc[0], true);
    }
    for (uint32_t tile = 0; tile < k->d->batch * k->tiles; tile++) {
        if (worker == 0)
            mct_dma_wait(raw);
        mct_barrier();
        turn_tile(k, &s, worker, workers);
        for (uint32_t chunk = 0; chunk < k->chunks; chunk++, turns++) {
            bool moving = turns == 0 || k->chunks > 1;
            if (worker == 0 && moving)
                mct_dma_wait(in);
            if (chunk == 0 || moving)
                mct_barrier();
            if (worker == 0 && chunk == 0 && s.sample < k->d->batch) {
                raw = mct_dma_begin();
                load(k, &s);
            }
            if (worker == 0 && k->chunks > 1) {
                if (turns > 0) {
                    out = mct_dma_begin();
                    move_acc(k, chunk ? chunk - 1 : k->chunks - 1, k->acc[(turns - 1) % 2], false);
                    mct_dma_wait(out);
                }
                if (turns + 1 < all) {
                    in = mct_dma_begin();
                    move_acc(k, chunk + 1 < k->chunks ? chunk + 1 : 0, k->acc[(turns + 1) % 2], true);
                }
            }
            multiply(k, chunk, k->acc[k->chunks > 1 ? turns % 2 : 0], worker, workers);
        }
    }
    mct_barrier();
    if (worker == 0) {
        out = mct_dma_begin();
        move_acc(k, k->chunks - 1, k->acc[k->chunks > 1 ? (turns - 1) % 2 : 0], false);
        mct_dma_wait(out);
    }
}

/* Squares of a block of complete sums, a share of them; the accumulators pass through what tiles had, or
 * where their lines are needed again, what these came in. */
static void square(const struct turn *k, uint32_t chunk, bool again, uint32_t worker, uint32_t workers) {
    const uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, k->d->out_channels - first);
    const float *sums = k->acc[0];
    float *acc = k->d->acc + first * k->depth;
    uint8_t *place = (uint8_t *)k->x_raw;
    const uint8_t *end = again ? (const uint8_t *)k->x_lines : (const uint8_t *)sums;
    const uint32_t bytes = (uint32_t)(end - place) / workers & ~15u;
    uint32_t i, last;
    place += worker * bytes;
    if (k->pitch == k->depth) {
        mct_split(rows * k->depth / 4, worker, workers, &i, &last);
        mct_l1_squares(acc + 4 * i, sums + 4 * i, 4 * (last - i), place, bytes);
        return;
    }
    mct_split(rows, worker, workers, &i, &last);
    for (; i < last; i++)
        mct_l1_squares(acc + i * k->depth, sums + i * k->pitch, k->depth, place, bytes);
}

/* As accumulate; sums begin with zeros, in the first block's place. A single tile, once it is turned, leaves
 * room for a block of accumulators, which come while their sums are made. */
static __attribute__((noinline)) void accumulate_squares(struct turn *k, uint32_t worker, uint32_t workers) {
    const uint32_t tiles = k->d->batch * k->tiles, count = k->chunk * k->pitch;
    const bool whole =
        tiles == 1 && count * sizeof(float) <= (uint32_t)((uint8_t *)k->x_lines - (uint8_t *)k->x_raw);
    float *const sums = k->acc[0], *const acc = k->acc[1];
    struct step s = {0};
    uint32_t raw = 0, move = 0, first, last;
    mct_split(count / 4, worker, workers, &first, &last);
    first *= 4;
    last *= 4;
    for (uint32_t chunk = 0; chunk < k->chunks; chunk++) {
        const bool turned = tiles == 1 && chunk > 0;
        if (chunk)
            mct_barrier(); /* all are done with the squares before */
        if (worker == 0 && chunk && whole) {
            move = mct_dma_begin();
            move_acc(k, chunk - 1, acc, false);
        }
        if (worker == 0 && !turned) {
            raw = mct_dma_begin();
            load(k, &s);
        }
        mct_sums_zero(sums + first, last - first);
        for (uint32_t tile = 0; tile < tiles; tile++) {
            if (!turned) {
                if (worker == 0)
                    mct_dma_wait(raw);
                mct_barrier();
                turn_tile(k, &s, worker, workers);
                if (s.sample == k->d->batch)
                    s.sample = 0;
            }
            mct_barrier();
            if (worker == 0 && tile + 1 < tiles) {
                raw = mct_dma_begin();
                load(k, &s);
            }
            if (worker == 0 && whole) {
                if (chunk)
                    mct_dma_wait(move);
                move = mct_dma_begin();
                move_acc(k, chunk, acc, true);
            }
            multiply(k, chunk, sums, worker, workers);
        }
        if (worker == 0 && whole)
            mct_dma_wait(move);
        mct_barrier();
        if (whole)
            mct_squares_here(acc + first, sums + first, last - first);
        else
            square(k, chunk, tiles == 1 && chunk + 1 < k->chunks, worker, workers);
    }
    if (!whole)
        return;
    mct_barrier();
    if (worker == 0) {
        move = mct_dma_begin();
        move_acc(k, k->chunks - 1, acc, false);
        mct_dma_wait(move);
    }
}

void MCT_KERNEL(conv2d_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    if (mct_windows_weight_gradient(args, worker, workers))
        return;
#endif
    struct turn *k = NULL;
    MCT_SHARE(k, plan(args, workers), worker);
    if (k && k->d->squares)
        accumulate_squares(k, worker, workers);
    else if (k)
        accumulate(k, worker, workers);
    else
        mct_conv2d_weight_gradient_any(args, worker, workers);
}
