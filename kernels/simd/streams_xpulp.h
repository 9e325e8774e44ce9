/* PULP's inner loops over rows of elements in L1. */
#ifndef MCT_STREAMS_XPULP_H
#define MCT_STREAMS_XPULP_H

#include "simd.h"

/* Loops below are in place; their words are loaded two before they are used, and they end on instructions of
 * PULP's, which an emulation sees. */
/* clang-format off */
#define MCT_X_PLACE(code, count, first, second)                                                              \
    do {                                                                                                     \
        uint32_t a_, b_, c_, d_, times_ = (count), *x_ = (void *)(first);                                    \
        const uint32_t *y_ = (const void *)(second);                                                         \
        if (times_)                                                                                          \
            __asm__ volatile(".option push\n\t.option norvc\n\t" code ".option pop"                          \
                             : [x] "+r"(x_), [y] "+r"(y_), [a] "=&r"(a_), [b] "=&r"(b_), [c] "=&r"(c_),      \
                               [d] "=&r"(d_)                                                                 \
                             : [times] "r"(times_), [most] "r"(0x80008000u)                                  \
                             : "memory");                                                                    \
    } while (0)

/* dy = 0 but where y > 0 or NaN; pv.cmpgt.h compares binary16 as integers, whose signs agree. */
MCT_INLINE void mct_x_relu_gradient(mct_elem *dy, const mct_elem *y, uint32_t words) {
    MCT_X_PLACE(".insn i 0x7b, 4, x0, %[times], 10\n\t" /* lp.setup: the next five */
                ".insn i 0x0b, 2, %[a], 4(%[y])\n\t" /* p.lw */
                "lw %[b], 0(%[x])\n\t"
                ".insn r 0x57, 0, 0x0a, %[a], %[a], x0\n\t" /* pv.cmpgt.h */
                "and %[b], %[b], %[a]\n\t"
                ".insn s 0x2b, 2, %[b], 4(%[x])\n\t", /* p.sw */
                words, dy, y);
}

/* x = 0 where it is negative but not -0; so it is left where it is not above -0 as a number without sign. */
MCT_INLINE void mct_x_relu(mct_elem *x, uint32_t words) {
    MCT_X_PLACE(".insn i 0x7b, 4, x0, %[times], 16\n\t" /* lp.setup: the next eight */
                "lw %[a], 0(%[x])\n\t"
                "lw %[b], 4(%[x])\n\t"
                ".insn r 0x57, 0, 0x1e, %[c], %[most], %[a]\n\t" /* pv.cmpgeu.h */
                ".insn r 0x57, 0, 0x1e, %[d], %[most], %[b]\n\t"
                "and %[a], %[a], %[c]\n\t"
                "and %[b], %[b], %[d]\n\t"
                ".insn s 0x2b, 2, %[a], 4(%[x])\n\t"
                ".insn s 0x2b, 2, %[b], 4(%[x])\n\t",
                (words + 1) / 2, x, x);
}

/* x = x op y: vfadd.h, vfsub.h, vfmul.h. They round once; so do these operations in binary32 that are then
 * rounded to binary16, because binary32 has more than twice its digits. */
#define MCT_X_BINARY(name, funct7)                                                                           \
    MCT_INLINE void name(mct_elem *x, const mct_elem *y, uint32_t words) {                                   \
        MCT_X_PLACE(".insn i 0x7b, 4, x0, %[times], 16\n\t"                                                  \
                    "lw %[a], 0(%[x])\n\t"                                                                   \
                    ".insn i 0x0b, 2, %[b], 4(%[y])\n\t"                                                     \
                    "lw %[c], 4(%[x])\n\t"                                                                   \
                    ".insn i 0x0b, 2, %[d], 4(%[y])\n\t"                                                     \
                    ".insn r 0x33, 2, " #funct7 ", %[a], %[a], %[b]\n\t"                                     \
                    ".insn s 0x2b, 2, %[a], 4(%[x])\n\t"                                                     \
                    ".insn r 0x33, 2, " #funct7 ", %[c], %[c], %[d]\n\t"                                     \
                    ".insn s 0x2b, 2, %[c], 4(%[x])\n\t",                                                    \
                    (words + 1) / 2, x, y);                                                                  \
    }
MCT_X_BINARY(mct_x_add, 0x41)
MCT_X_BINARY(mct_x_subtract, 0x42)
MCT_X_BINARY(mct_x_multiply, 0x43)
#undef MCT_X_BINARY
/* clang-format on */

/* y = x, each rounded once, in pairs: vfcpka.h.s; y may be where x is. Two pairs a turn, of which the second
 * is stored in the next. */
MCT_INLINE void mct_x_narrow(mct_elem *y, const float *x, uint32_t words) {
    uint32_t a, b, c, d, turns = (words - 1) / 2;
    if (words == 0)
        return;
    if (words % 2 == 0) {
        MCT_XPULP_OP(0x33, 2, 0x58, a, x[0], x[1]);
        mct_xpulp_store(y, a);
        x += 2, y += 2;
    }
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".insn i 0x0b, 2, %[c], 4(%[x])\n\t" /* p.lw */
                     ".insn i 0x0b, 2, %[d], 4(%[x])\n\t"
                     "beqz %[turns], 1f\n\t"
                     ".insn i 0x7b, 4, x0, %[turns], 16\n\t" /* lp.setup: the next eight, turns times */
                     ".insn i 0x0b, 2, %[a], 4(%[x])\n\t"
                     ".insn r 0x33, 2, 0x58, %[d], %[c], %[d]\n\t"
                     ".insn i 0x0b, 2, %[b], 4(%[x])\n\t"
                     ".insn s 0x2b, 2, %[d], 4(%[y])\n\t" /* p.sw */
                     ".insn i 0x0b, 2, %[c], 4(%[x])\n\t"
                     ".insn r 0x33, 2, 0x58, %[b], %[a], %[b]\n\t"
                     ".insn i 0x0b, 2, %[d], 4(%[x])\n\t"
                     ".insn s 0x2b, 2, %[b], 4(%[y])\n\t"
                     "1:\n\t"
                     ".insn r 0x33, 2, 0x58, %[d], %[c], %[d]\n\t"
                     "sw %[d], 0(%[y])\n\t"
                     ".option pop"
                     : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [x] "+r"(x), [y] "+r"(y)
                     : [turns] "r"(turns)
                     : "memory");
}

/* y[2][middle][2 * twos] from two columns of x[2 * twos][middle][tall], the first of which is where x points.
 */
MCT_INLINE void mct_x_turn(mct_elem *y, const mct_elem *x, uint32_t tall, uint32_t middle, uint32_t twos) {
    mct_elem *second = y + 2 * middle * twos;
    const int32_t step = (int32_t)(middle * tall * sizeof(mct_elem));
    const int32_t back = (int32_t)(tall * sizeof(mct_elem)) - 2 * (int32_t)twos * step;
    uint32_t a, b, t;
    __asm__ volatile(
        ".option push\n\t"
        ".option norvc\n\t"
        ".insn i 0x7b, 4, x1, %[middle], 16\n\t" /* lp.setup: the next eight, middle times */
        ".insn i 0x7b, 4, x0, %[twos], 12\n\t"   /* the next six, twos times */
        ".insn r 0x0b, 7, 0x10, %[a], %[x], %[step]\n\t"
        ".insn r 0x0b, 7, 0x10, %[b], %[x], %[step]\n\t"
        ".insn r 0x57, 0, 0x68, %[t], %[b], %[a]\n\t" /* pv.pack.h */
        ".insn s 0x2b, 2, %[t], 4(%[y])\n\t"
        ".insn r 0x57, 0, 0x64, %[a], %[b], %[select]\n\t" /* pv.shuffle2.h */
        ".insn s 0x2b, 2, %[a], 4(%[second])\n\t"
        /* p.lw for the sake of the step: loops end on instructions that an emulation sees */
        ".insn r 0x0b, 7, 0x10, %[t], %[x], %[back]\n\t"
        ".option pop"
        : [a] "=&r"(a), [b] "=&r"(b), [t] "=&r"(t), [x] "+r"(x), [y] "+r"(y), [second] "+r"(second)
        :
        [middle] "r"(middle), [twos] "r"(twos), [step] "r"(step), [back] "r"(back), [select] "r"(0x00030001u)
        : "memory");
}

/* sum[i] continues with the dot product of column i of dy[rows][columns] with ones, for two columns. */
MCT_INLINE void mct_x_sum_columns(float sum[2], const mct_elem *dy, uint32_t columns, uint32_t rows) {
    const mct_pair ones = mct_both(1.0f);
    float s0 = sum[0], s1 = sum[1];
    uint32_t low, high, pair, step = columns * sizeof(mct_elem);
    if (rows >= 2)
        __asm__ volatile(
            ".option push\n\t"
            ".option norvc\n\t"
            ".insn i 0x7b, 4, x0, %[pairs], 12\n\t" /* lp.setup: the next six, pairs times */
            ".insn r 0x0b, 7, 0x10, %[low], %[dy], %[step]\n\t"
            ".insn r 0x0b, 7, 0x10, %[high], %[dy], %[step]\n\t"
            ".insn r 0x57, 0, 0x68, %[pair], %[high], %[low]\n\t"   /* pv.pack.h */
            ".insn r 0x57, 0, 0x64, %[low], %[high], %[select]\n\t" /* pv.shuffle2.h */
            MCT_XPULP_DOT("%[s0]", "%[pair]", "%[ones]")
                MCT_XPULP_DOT("%[s1]", "%[low]", "%[ones]") ".option pop"
            : [s0] "+r"(s0), [s1] "+r"(s1), [dy] "+r"(dy), [low] "=&r"(low), [high] "=&r"(high),
              [pair] "=&r"(pair)
            : [step] "r"(step), [pairs] "r"(rows / 2), [ones] "r"(ones), [select] "r"(0x00030001u)
            : "memory");
    if (rows % 2) {
        uint32_t low = mct_xpulp_word(dy);
        s0 = mct_dot(s0, low & 0xffff, ones);
        s1 = mct_dot(s1, low >> 16, ones);
    }
    sum[0] = s0, sum[1] = s1;
}

#endif
