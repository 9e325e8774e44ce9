/* PULP's inner loops over rows of elements in L1. */
#ifndef MCT_STREAMS_XPULP_H
#define MCT_STREAMS_XPULP_H

#include "simd.h"

/* dx = dy where y > 0 or NaN, else 0; pv.cmpgt.h compares binary16 as integers, whose signs agree. */
MCT_INLINE void mct_x_relu_gradient(mct_elem *dx, const mct_elem *dy, const mct_elem *y, uint32_t words) {
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < words; i++) {
        uint32_t mask, word = mct_xpulp_word(y + 2 * i), g = mct_xpulp_word(dy + 2 * i);
        MCT_XPULP_OP(0x57, 0, 0x0a, mask, word, 0);
        mct_xpulp_store(dx + 2 * i, mask & g);
    }
}

/* y = x where x is not negative or is -0, else 0. */
MCT_INLINE void mct_x_relu(mct_elem *y, const mct_elem *x, uint32_t words) {
    const uint32_t minus_one = 0xffffffffu, after_minus_zero = 0x80018001u;
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < words; i++) {
        uint32_t word = mct_xpulp_word(x + 2 * i), mask, minus_zero;
        MCT_XPULP_OP(0x57, 0, 0x0a, mask, word, minus_one);
        MCT_XPULP_OP(0x57, 0, 0x0a, minus_zero, after_minus_zero, word);
        mct_xpulp_store(y + 2 * i, word & (mask | minus_zero));
    }
}

/* y = a op b: vfadd.h, vfsub.h, vfmul.h. They round once; so do these operations in binary32 that are then
 * rounded to binary16, because binary32 has more than twice its digits. */
#define MCT_X_BINARY(name, funct7)                                                                           \
    MCT_INLINE void name(mct_elem *y, const mct_elem *a, const mct_elem *b, uint32_t words) {                \
        _Pragma("clang loop unroll_count(4)") for (uint32_t i = 0; i < words; i++) {                         \
            uint32_t left = mct_xpulp_word(a + 2 * i), right = mct_xpulp_word(b + 2 * i), word;              \
            MCT_XPULP_OP(0x33, 2, funct7, word, left, right);                                                \
            mct_xpulp_store(y + 2 * i, word);                                                                \
        }                                                                                                    \
    }
MCT_X_BINARY(mct_x_add, 0x41)
MCT_X_BINARY(mct_x_subtract, 0x42)
MCT_X_BINARY(mct_x_multiply, 0x43)
#undef MCT_X_BINARY

/* y = x, each rounded once, in pairs: vfcpka.h.s */
MCT_INLINE void mct_x_narrow(mct_elem *y, const float *x, uint32_t words) {
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < words; i++) {
        uint32_t packed;
        MCT_XPULP_OP(0x33, 2, 0x58, packed, x[2 * i], x[2 * i + 1]);
        mct_xpulp_store(y + 2 * i, packed);
    }
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
