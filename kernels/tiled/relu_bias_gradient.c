/* Gradients of a ReLU and a bias through L1, for binary16 and an even number of channels.
 *
 * Rows of dy and y come piece by piece, in turns; while a piece is masked, in place, and summed, the next one
 * comes and the one before goes. Each worker has its channels to itself, and fetches them alone. Only where
 * these are so few that DMA would bring less than it can, all fetch whole rows for all, and meet. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(relu_bias_gradient)
#include "../relu_bias_gradient.c"
#include "tiled/squares.h"

enum {
    PIECE = 384 /* bytes of dy that a worker fetches */,
    ROOM = 3 * 2 * PIECE /* for three pieces of dy and y */,
    MOST_CHANNELS = 64 /* of a worker */,
};

/* `columns` > 0 pairs of channels of `pairs` > 0 pairs of rows, `step` bytes long: dy is masked in place and
 * summed. */
MCT_INLINE void mask_and_sum(float *sums, uint8_t *dy, const uint8_t *y, uint32_t step, uint32_t pairs,
                             uint32_t columns) {
    const mct_pair ones = mct_both(1.0f);
    uint32_t s0, s1, low, high, mask;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x1, %[columns], 42\n\t" /* lp.setup: the next 21, columns times */
        "lw %[s0], 0(%[sums])\n\t"
        "lw %[s1], 4(%[sums])\n\t"
        ".insn i 0x7b, 4, x0, %[pairs], 28\n\t" /* the next 14, pairs times */
        ".insn r 0x0b, 7, 0x10, %[mask], %[y], %[step]\n\t" /* p.lw */
        "lw %[low], 0(%[dy])\n\t"
        ".insn r 0x57, 0, 0x0a, %[mask], %[mask], x0\n\t" /* pv.cmpgt.h */
        "and %[low], %[low], %[mask]\n\t"
        ".insn r 0x2b, 6, 0x00, %[step], %[dy], %[low]\n\t" /* p.sw */
        ".insn r 0x0b, 7, 0x10, %[mask], %[y], %[step]\n\t"
        "lw %[high], 0(%[dy])\n\t"
        ".insn r 0x57, 0, 0x0a, %[mask], %[mask], x0\n\t"
        "and %[high], %[high], %[mask]\n\t"
        ".insn r 0x2b, 6, 0x00, %[step], %[dy], %[high]\n\t"
        ".insn r 0x57, 0, 0x68, %[mask], %[high], %[low]\n\t" /* pv.pack.h */
        ".insn r 0x57, 0, 0x64, %[low], %[high], %[select]\n\t" /* pv.shuffle2.h */
        MCT_XPULP_DOT("%[s0]", "%[mask]", "%[ones]")
        MCT_XPULP_DOT("%[s1]", "%[low]", "%[ones]")
        "sub %[y], %[y], %[back]\n\t"
        "sub %[dy], %[dy], %[back]\n\t"
        ".insn s 0x2b, 2, %[s0], 4(%[sums])\n\t"
        ".insn s 0x2b, 2, %[s1], 4(%[sums])\n\t"
        ".option pop"
        : [s0] "=&r"(s0), [s1] "=&r"(s1), [dy] "+r"(dy), [y] "+r"(y), [low] "=&r"(low), [high] "=&r"(high),
          [mask] "=&r"(mask), [sums] "+r"(sums)
        : [step] "r"(step), [pairs] "r"(pairs), [columns] "r"(columns), [back] "r"(2 * pairs * step - 4),
          [ones] "r"(ones), [select] "r"(0x00030001u)
        : "memory");
    /* clang-format on */
}

MCT_SMALL void MCT_TILED(relu_bias_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_relu_bias_gradient *d = args;
    const uint32_t row = d->channels * sizeof(mct_elem), squares = d->squares;
    uint32_t first, last; /* pairs of channels */
    mct_split(row / 4, worker, workers, &first, &last);
    const struct mct_l1 l1 = mct_l1_all();
    if (row % 4 || row < 4 || d->rows < 8 || row > 2 * MOST_CHANNELS * workers ||
        (ROOM + (1 + squares) * MOST_CHANNELS * sizeof(float)) * workers > l1.left) {
        mct_any_shape_relu_bias_gradient(args, worker, workers);
        return;
    }
    const bool shared = row < 8 * workers;
    const uint32_t columns = last - first, pitch = shared ? row : 4 * columns, part = PIECE / pitch & ~1u;
    const int32_t rows = (int32_t)d->rows, turn = (int32_t)(shared ? part * workers : part);
    const int32_t own = (int32_t)(shared ? part * worker : 0); /* first row that it fetches of a piece */
    const uint32_t size = (uint32_t)turn * pitch, step = (uint32_t)turn * row;
    uint8_t *next = l1.at + (shared ? 0 : worker * ROOM), *now = next + 2 * size, *before = now + 2 * size;
    float *const sums = (float *)(void *)(l1.at + workers * ROOM) + worker * MOST_CHANNELS;
    float *const acc = d->acc + 2 * first;
    /* where acc comes: where it is summed, or where squares of sums are added to it */
    float *const home = sums + (squares ? workers * MOST_CHANNELS : 0);
    if (home != sums)
        mct_sums_zero(sums, 2 * columns);
    const uint32_t offset = (uint32_t)own * row + (shared ? 0 : 4 * first), place = (uint32_t)own * pitch;
    const uint8_t *dy = (const uint8_t *)d->dy + offset, *y = (const uint8_t *)d->y + offset;
    uint8_t *dx = (uint8_t *)d->dx + offset;
    uint32_t group = 0;
    for (int32_t at = -turn;; at += turn) {
        if (at >= 0) {
            mct_dma_wait(group);
            if (shared)
                mct_barrier(); /* all is here, and the piece before done */
        }
        group = mct_dma_begin();
        int32_t count = rows - at - turn - own; /* of the next piece */
        if (count > 0) {
            count = count < (int32_t)part ? count : (int32_t)part;
            mct_dma_in_rows(next + place, dy, (uint32_t)count, pitch, row);
            mct_dma_in_rows(next + size + place, y, (uint32_t)count, pitch, row);
            dy += step, y += step;
        }
        count = rows - at + turn - own; /* of the piece before */
        if (at > 0 && count > 0) {
            mct_dma_out_rows(dx, before + place, mct_min((uint32_t)count, part), pitch, row);
            dx += step;
        }
        if (at < 0 && columns)
            mct_dma_in(home, acc, columns * 2 * sizeof(float));
        if (at >= rows)
            break;
        if (at >= 0 && columns) {
            count = rows - at < turn ? rows - at : turn;
            uint8_t *here = now + (shared ? 4 * first : 0);
            if (count % 2) /* a row of zeros to the last one */
                for (uint32_t c = 0; c < columns; c++)
                    ((uint32_t *)(void *)(here + (uint32_t)count * pitch))[c] = 0;
            mask_and_sum(sums, here, here + size, pitch, (uint32_t)(count + 1) / 2, columns);
        }
        uint8_t *const done = before;
        before = now, now = next, next = done;
    }
    if (home != sums)
        mct_squares_here(home, sums, 2 * columns);
    if (columns)
        mct_dma_out(acc, home, columns * 2 * sizeof(float));
    mct_dma_wait(group);
}
#else
#include "../relu_bias_gradient.c"
#endif
