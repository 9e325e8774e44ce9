/* Gradients of a ReLU and a bias through L1, for binary16 and an even number of channels.
 *
 * Rows of dy and y come in tiles, in turns; each worker masks and sums its channels in place, and the masked
 * dy goes while the next tile is worked on. L1 holds three tiles of dy and two of y. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(relu_bias_gradient)
#include "../relu_bias_gradient.c"
#include "tiled/l1.h"

enum { TILE = 4096 /* bytes of dy */, MOST_CHANNELS = 64 /* of a worker */, GRADIENTS = 3, RESULTS = 2 };

/* Two channels of `pairs` pairs of rows, `step` bytes long: dy is masked in place and summed. */
static void mask_and_sum(float sum[2], mct_elem *dy, const mct_elem *y, uint32_t step, uint32_t pairs) {
    const mct_pair ones = mct_both(1.0f);
    float s0 = sum[0], s1 = sum[1];
    mct_elem *to = dy;
    uint32_t low, high, mask, more;
    /* clang-format off */
    if (pairs)
        __asm__ volatile(
            ".option push\n\t.option norvc\n\t"
            ".insn i 0x7b, 4, x0, %[pairs], 32\n\t" /* lp.setup: the next 16, pairs times */
            ".insn r 0x0b, 7, 0x10, %[mask], %[y], %[step]\n\t"
            ".insn r 0x0b, 7, 0x10, %[low], %[dy], %[step]\n\t"
            ".insn r 0x0b, 7, 0x10, %[more], %[y], %[step]\n\t"
            ".insn r 0x0b, 7, 0x10, %[high], %[dy], %[step]\n\t"
            ".insn r 0x57, 0, 0x0a, %[mask], %[mask], x0\n\t" /* pv.cmpgt.h */
            ".insn r 0x57, 0, 0x0a, %[more], %[more], x0\n\t"
            "and %[low], %[low], %[mask]\n\t"
            "and %[high], %[high], %[more]\n\t"
            "sw %[low], 0(%[to])\n\t"
            "add %[to], %[to], %[step]\n\t"
            "sw %[high], 0(%[to])\n\t"
            "add %[to], %[to], %[step]\n\t"
            ".insn r 0x57, 0, 0x68, %[mask], %[high], %[low]\n\t" /* pv.pack.h */
            ".insn r 0x57, 0, 0x64, %[low], %[high], %[select]\n\t" /* pv.shuffle2.h */
            MCT_XPULP_DOT("%[s0]", "%[mask]", "%[ones]")
            MCT_XPULP_DOT("%[s1]", "%[low]", "%[ones]")
            ".option pop"
            : [s0] "+r"(s0), [s1] "+r"(s1), [dy] "+r"(dy), [y] "+r"(y), [to] "+r"(to), [low] "=&r"(low),
              [high] "=&r"(high), [mask] "=&r"(mask), [more] "=&r"(more)
            : [step] "r"(step), [pairs] "r"(pairs), [ones] "r"(ones), [select] "r"(0x00030001u)
            : "memory");
    /* clang-format on */
    sum[0] = s0, sum[1] = s1;
}

void MCT_TILED(relu_bias_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_relu_bias_gradient copy = *(const struct mct_relu_bias_gradient *)args, *d = &copy;
    const uint32_t row = d->channels * sizeof(mct_elem);
    uint32_t first, last;
    mct_split(d->channels / 2, worker, workers, &first, &last);
    struct mct_l1 room = mct_l1_all();
    uint32_t turn = row ? TILE / row / 2 * 2 : 0;
    turn = mct_min(turn < 2 ? 2 : turn, (d->rows + 1) / 2 * 2);
    mct_elem *gradients[GRADIENTS], *results[RESULTS];
    bool fits = d->channels % 2 == 0 && d->rows >= 8 && last - first <= MOST_CHANNELS / 2 &&
                mct_ceil_div(d->channels / 2, workers) <= MOST_CHANNELS / 2;
    for (uint32_t i = 0; i < GRADIENTS; i++)
        fits = (gradients[i] = mct_l1_take(&room, turn * row)) && fits;
    for (uint32_t i = 0; i < RESULTS; i++)
        fits = (results[i] = mct_l1_take(&room, turn * row)) && fits;
    if (!fits) {
        mct_any_shape_relu_bias_gradient(args, worker, workers);
        return;
    }
    float sum[MOST_CHANNELS];
    for (uint32_t c = 2 * first; c < 2 * last; c++)
        sum[c - 2 * first] = d->acc[c];
    const mct_elem *dy = d->dy, *y = d->y;
    mct_elem *dx = d->dx;
    const bool moves = worker == workers - 1; /* the one with the least to do */
    uint32_t group = 0;
    if (moves) {
        group = mct_dma_begin();
        mct_l1_in(results[0], y, mct_min(turn, d->rows) * row);
        mct_l1_in(gradients[0], dy, mct_min(turn, d->rows) * row);
    }
    for (uint32_t at = 0, g = 0, r = 0; at < d->rows; at += turn, r ^= 1) {
        const uint32_t next = at + turn, count = mct_min(turn, d->rows - at);
        const uint32_t after = g == GRADIENTS - 1 ? 0 : g + 1, before = g == 0 ? GRADIENTS - 1 : g - 1;
        if (moves)
            mct_dma_wait(group);
        mct_barrier(); /* these rows are here, the ones before are done with */
        if (moves) {
            group = mct_dma_begin();
            if (next < d->rows) {
                mct_l1_in(results[r ^ 1], y + next * d->channels, mct_min(turn, d->rows - next) * row);
                mct_l1_in(gradients[after], dy + next * d->channels, mct_min(turn, d->rows - next) * row);
            }
            if (at > 0)
                mct_l1_out(dx + (at - turn) * d->channels, gradients[before], turn * row);
        }
        if (count % 2) { /* a row of zeros to the last one; nothing passes it */
            mct_elem *end = gradients[g] + count * d->channels, *end_y = results[r] + count * d->channels;
            for (uint32_t c = 2 * first; c < 2 * last; c++)
                end[c] = end_y[c] = 0;
        }
        for (uint32_t c = 2 * first; c < 2 * last; c += 2)
            mask_and_sum(sum + (c - 2 * first), gradients[g] + c, results[r] + c, row, (count + 1) / 2);
        if (next >= d->rows) {
            mct_barrier();
            if (moves) {
                mct_dma_wait(group);
                group = mct_dma_begin();
                mct_l1_out(dx + at * d->channels, gradients[g], count * row);
                mct_dma_wait(group);
            }
        }
        g = after;
    }
    for (uint32_t c = 2 * first; c < 2 * last; c++)
        d->acc[c] = mct_canonical(sum[c - 2 * first]);
}
#else
#include "../relu_bias_gradient.c"
#endif
