/* Mean over a whole image through L1, for binary16: each worker fetches its channels, piece by piece. Other
 * windows take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(average_pool2d)
#include "../average_pool2d.c"
#include "tiled/l1.h"

enum { MOST_CHANNELS = 64 /* of a worker */, PIECE = 1024 /* bytes */, ROOM = 2 * PIECE + 16 };

/* sums[0] and [1] += each of the two channels of `rows` rows that are `step` bytes apart: a product with one,
 * added and rounded once. The word behind the last row is read, too. */
static void sum_rows(float *sums, const uint8_t *x, uint32_t step, uint32_t rows) {
    float s0 = sums[0], s1 = sums[1];
    uint32_t a, b, pairs = rows / 2;
    const uint32_t one = mct_both(1.0f);
    /* clang-format off */
    if (pairs)
        __asm__ volatile(
            ".option push\n\t.option norvc\n\t"
            ".insn r 0x0b, 7, 0x10, %[a], %[x], %[step]\n\t" /* p.lw */
            ".insn i 0x7b, 4, x0, %[pairs], 16\n\t" /* lp.setup: the next eight, pairs times */
            ".insn r 0x0b, 7, 0x10, %[b], %[x], %[step]\n\t"
            ".insn r 0x53, 0, 0x2a, %[s0], %[a], %[one]\n\t" /* fmacex.s.h */
            "srli %[a], %[a], 16\n\t"
            ".insn r 0x53, 0, 0x2a, %[s1], %[a], %[one]\n\t"
            ".insn r 0x0b, 7, 0x10, %[a], %[x], %[step]\n\t"
            ".insn r 0x53, 0, 0x2a, %[s0], %[b], %[one]\n\t"
            "srli %[b], %[b], 16\n\t"
            ".insn r 0x53, 0, 0x2a, %[s1], %[b], %[one]\n\t"
            ".option pop"
            : [s0] "+r"(s0), [s1] "+r"(s1), [x] "+r"(x), [a] "=&r"(a), [b] "=&r"(b)
            : [step] "r"(step), [pairs] "r"(pairs), [one] "r"(one)
            : "memory");
    /* clang-format on */
    if (rows % 2) {
        const mct_elem *last = (const mct_elem *)(const void *)(x - (pairs ? step : 0));
        s0 += mct_widen(last[0]);
        s1 += mct_widen(last[1]);
    }
    sums[0] = s0, sums[1] = s1;
}

MCT_SMALL void MCT_TILED(average_pool2d)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_average_pool2d *d = args;
    const uint32_t rows = d->height * d->width, row = d->channels * sizeof(mct_elem);
    uint32_t first, last; /* pairs of channels */
    mct_split(row / 4, worker, workers, &first, &last);
    const struct mct_l1 l1 = mct_l1_all();
    const bool whole = d->kernel_height == d->height && d->kernel_width == d->width &&
                       d->out_height * d->out_width == 1 && d->dilation_height == 1 &&
                       d->dilation_width == 1 && d->pad_top + d->pad_left + d->pad_bottom + d->pad_right == 0;
    if (!whole || d->batch != 1 || row % 4 || row > 2 * MOST_CHANNELS * workers || ROOM * workers > l1.left) {
        mct_any_shape_average_pool2d(args, worker, workers);
        return;
    }
    if (first == last)
        return;
    const uint32_t width = 4 * (last - first), turn = PIECE / width;
    const uint8_t *x = (const uint8_t *)d->x + 4 * first;
    uint8_t *now = l1.at + worker * ROOM + PIECE, *next = now - PIECE;
    float sums[MOST_CHANNELS];
    for (uint32_t c = 0; c < width / 2; c++)
        sums[c] = 0.0f;
    uint32_t count = 0; /* of rows that are here */
    for (uint32_t at = 0;; at += turn) {
        const uint32_t group = mct_dma_begin(), coming = at < rows ? mct_min(turn, rows - at) : 0;
        if (coming)
            mct_dma_in_rows(next, x + at * row, coming, width, row);
        for (uint32_t c = 0; c < width && count; c += 4)
            sum_rows(sums + c / 2, now + c, width, count);
        mct_dma_wait(group);
        if (!coming)
            break;
        count = coming;
        uint8_t *const done = now;
        now = next, next = done;
    }
    mct_elem *y = (mct_elem *)d->y + 2 * first;
    for (uint32_t c = 0; c < width / 2; c++)
        y[c] = mct_narrow(sums[c] / (float)rows);
}
#else
#include "../average_pool2d.c"
#endif
