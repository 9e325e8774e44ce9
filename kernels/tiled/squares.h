/* Squares of sums that are in L1, for accumulators in memory, which pass through L1 piece by piece. */
#ifndef MCT_TILED_SQUARES_H
#define MCT_TILED_SQUARES_H

#include "../squares.h"
#include "l1.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "../simd/windows_xpulp.h"
#endif

/* Numbers of a piece; below the least of them DMA is not worth while. */
enum { MCT_SQUARES_PIECES = 3, MCT_SQUARES_LEAST = 16, MCT_SQUARES_SHORT = 96, MCT_SQUARES_MOST = 256 };

/* Zeros in an even number of sums. */
MCT_INLINE void mct_sums_zero(float *sums, uint32_t count) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    mct_x_zero(sums, count);
#else
    memset(sums, 0, count * sizeof *sums);
#endif
}

/* acc[i] += g[i]^2, of numbers that are at hand; two numbers behind g are read, too. */
static __attribute__((noinline, unused)) void mct_squares_here(float *restrict acc, const float *restrict g,
                                                               uint32_t count) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    const uint32_t twice = count / 2;
    uint32_t a, b, s, t;
    /* clang-format off */
    if (twice)
        __asm__ volatile(
            ".option push\n\t.option norvc\n\t"
            ".insn i 0x0b, 2, %[a], 4(%[g])\n\t" /* p.lw */
            ".insn i 0x0b, 2, %[b], 4(%[g])\n\t"
            ".insn i 0x7b, 4, x0, %[twice], 20\n\t" /* lp.setup: the next ten, twice times */
            "fmul.s %[a], %[a], %[a]\n\t"
            "lw %[s], 0(%[acc])\n\t"
            "fmul.s %[b], %[b], %[b]\n\t"
            "lw %[t], 4(%[acc])\n\t"
            "fadd.s %[s], %[s], %[a]\n\t"
            ".insn i 0x0b, 2, %[a], 4(%[g])\n\t"
            "fadd.s %[t], %[t], %[b]\n\t"
            ".insn i 0x0b, 2, %[b], 4(%[g])\n\t"
            ".insn s 0x2b, 2, %[s], 4(%[acc])\n\t" /* p.sw */
            ".insn s 0x2b, 2, %[t], 4(%[acc])\n\t"
            ".option pop"
            : [acc] "+r"(acc), [g] "+r"(g), [a] "=&r"(a), [b] "=&r"(b), [s] "=&r"(s), [t] "=&r"(t)
            : [twice] "r"(twice)
            : "memory");
    /* clang-format on */
    if (count % 2) {
        g -= twice ? 2 : 0;
        acc[0] = mct_square(acc[0], g[0]);
    }
#else
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        acc[i] = mct_square(acc[i], g[i]);
#endif
}

/* The same for acc in memory; `place` are `bytes` of L1 that the worker has to itself. */
static MCT_SMALL __attribute__((noinline, unused)) void
mct_l1_squares(float *acc, const float *g, uint32_t count, void *place, uint32_t bytes) {
    const uint32_t room = bytes / (MCT_SQUARES_PIECES * sizeof(float)) & ~3u;
    const uint32_t wanted = count <= MCT_SQUARES_SHORT ? count : mct_min(count / 4, MCT_SQUARES_MOST);
    const uint32_t piece = mct_min(room, (wanted + 3) & ~3u);
    if (piece < MCT_SQUARES_LEAST) {
        mct_squares_here(acc, g, count);
        return;
    }
    float *next = place, *now = next + piece, *before = now + piece;
    uint32_t group = mct_dma_begin();
    mct_dma_in(now, acc, mct_min(piece, count) * sizeof(float));
    for (uint32_t at = 0;; at += piece) {
        mct_dma_wait(group);
        group = mct_dma_begin();
        if (at)
            mct_dma_out(acc + at - piece, before, mct_min(piece, count - at + piece) * sizeof(float));
        if (at >= count)
            break;
        const uint32_t here = mct_min(piece, count - at);
        if (here < count - at)
            mct_dma_in(next, acc + at + piece, mct_min(piece, count - at - piece) * sizeof(float));
        mct_squares_here(now, g + at, here);
        float *const done = before;
        before = now, now = next, next = done;
    }
    mct_dma_wait(group);
}

#endif
