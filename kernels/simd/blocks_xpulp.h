/* PULP's inner loops over operands in L1, for the kernels in kernels/tiled.
 *
 * Every block of 4 by 4 sums takes 16 dots and 8 loads a step, spread so that two cores that share a
 * floating-point unit get in each other's way as little as possible; what the next step needs is loaded
 * meanwhile. Loads advance their pointer.
 */
#ifndef MCT_BLOCKS_XPULP_H
#define MCT_BLOCKS_XPULP_H

#include "simd.h"

#define MCT_X_DOT(sum, x, y) ".insn r 0x33, 0, 0x4b, %" sum ", %[" x "], %[" y "]\n\t"
#define MCT_X_LOAD(to, from, by) ".insn r 0x0b, 7, 0x10, %[" to "], %[" from "], %[" by "]\n\t"
#define MCT_X_LOAD4(to, from) ".insn i 0x0b, 2, %[" to "], 4(%[" from "])\n\t"
#define MCT_X_NOTHING

#define MCT_X_COLUMN(y, s0, s1, s2, s3, L, M, N, O)                                                          \
    MCT_X_DOT(s0, "x0", y) L MCT_X_DOT(s1, "x1", y)                                                          \
    M MCT_X_DOT(s2, "x2", y)                                                                                 \
    N MCT_X_DOT(s3, "x3", y) O

/* A0 .. A3 load x0 .. x3, B0 .. B3 the four others in turn into y0, y1, y0, y1. Loads never stand together:
 * when both cores are in step they would leave their floating-point unit idle, one cycle in 33. So x3 comes
 * when its own step has begun. */
/* clang-format off */
#define MCT_X_BLOCK(A0, A1, A2, A3, B0, B1, B2, B3)                                                          \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t" A0 A1 A2 B0                                                                          \
    "beqz %[y1], 1f\n\t"                                                                                     \
    ".insn i 0x7b, 4, x0, %[y1], 48\n\t" /* lp.setup: the next 24 instructions, y1 times */                  \
    MCT_X_COLUMN("y0", "0", "4", "8", "12", A3, B1, , )                                                      \
    MCT_X_COLUMN("y1", "1", "5", "9", "13", B2, , , )                                                        \
    MCT_X_COLUMN("y0", "2", "6", "10", "14", B3, , , )                                                       \
    MCT_X_COLUMN("y1", "3", "7", "11", "15", B0, A0, A1, A2)                                                 \
    "1:\n\t"                                                                                                 \
    MCT_X_COLUMN("y0", "0", "4", "8", "12", A3, B1, , )                                                      \
    MCT_X_COLUMN("y1", "1", "5", "9", "13", B2, , , )                                                        \
    MCT_X_COLUMN("y0", "2", "6", "10", "14", B3, , , )                                                       \
    MCT_X_COLUMN("y1", "3", "7", "11", "15", , , , )                                                         \
    ".option pop"
/* clang-format on */

#define MCT_X_SUMS(S)                                                                                        \
    "+r"(S(0, 0)), "+r"(S(0, 1)), "+r"(S(0, 2)), "+r"(S(0, 3)), "+r"(S(1, 0)), "+r"(S(1, 1)), "+r"(S(1, 2)), \
        "+r"(S(1, 3)), "+r"(S(2, 0)), "+r"(S(2, 1)), "+r"(S(2, 2)), "+r"(S(2, 3)), "+r"(S(3, 0)),            \
        "+r"(S(3, 1)), "+r"(S(3, 2)), "+r"(S(3, 3))

/* sum[4 r + c] continues with `pairs` > 0 pairs of row r of a and row c of b; rows are a_step and b_step
 * bytes apart. */
MCT_INLINE void mct_x_nt_4x4(float sum[16], const mct_elem *a, int32_t a_step, const mct_elem *b,
                             int32_t b_step, uint32_t pairs) {
    int32_t a_back = 4 - 3 * a_step, b_back = 4 - 3 * b_step;
    uint32_t x0, x1, x2, x3, y0, y1 = pairs - 1;
#define MCT_X_SUM(r, c) sum[4 * (r) + (c)]
    __asm__ volatile(MCT_X_BLOCK(MCT_X_LOAD("x0", "a", "a_step"), MCT_X_LOAD("x1", "a", "a_step"),
                                 MCT_X_LOAD("x2", "a", "a_step"), MCT_X_LOAD("x3", "a", "a_back"),
                                 MCT_X_LOAD("y0", "b", "b_step"), MCT_X_LOAD("y1", "b", "b_step"),
                                 MCT_X_LOAD("y0", "b", "b_step"), MCT_X_LOAD("y1", "b", "b_back"))
                     : MCT_X_SUMS(MCT_X_SUM), [a] "+r"(a), [b] "+r"(b), [x0] "=&r"(x0), [x1] "=&r"(x1),
                       [x2] "=&r"(x2), [x3] "=&r"(x3), [y0] "=&r"(y0), [y1] "+r"(y1)
                     : [a_step] "r"(a_step), [a_back] "r"(a_back), [b_step] "r"(b_step), [b_back] "r"(b_back)
                     : "memory");
#undef MCT_X_SUM
}

/* Two rows of `words` pairs become pairs over the rows, in place: where the first row had elements
 * 2 j and 2 j + 1 it has the two elements 2 j, the second row the two elements 2 j + 1. */
MCT_INLINE void mct_x_pair_rows(mct_elem *first, mct_elem *second, uint32_t words) {
    for (uint32_t j = 0; j < words; j++, first += 2, second += 2) {
        uint32_t low = mct_xpulp_word(first), high = mct_xpulp_word(second);
        mct_xpulp_store(first, mct_xpulp_pack(high, low));
        mct_xpulp_store(second, mct_xpulp_pack_high(high, low));
    }
}

/* sum[4 r + c] continues with `pairs` > 0 row pairs of columns r of a and c of b, both from
 * mct_x_pair_rows; rows are a_step and b_step bytes long. */
MCT_INLINE void mct_x_tn_4x4(float sum[16], const mct_elem *a, int32_t a_step, const mct_elem *b,
                             int32_t b_step, uint32_t pairs) {
    uint32_t x0, x1, x2, x3, y0, y1 = pairs - 1;
    a_step -= 4;
    b_step -= 4;
    /* the loads come in the order 0, 2, 1, 3 */
#define MCT_X_PLACE(i) ((i) == 1 ? 2 : (i) == 2 ? 1 : (i))
#define MCT_X_SUM(r, c) sum[4 * MCT_X_PLACE(r) + MCT_X_PLACE(c)]
    __asm__ volatile(MCT_X_BLOCK(MCT_X_LOAD4("x0", "a"), MCT_X_LOAD("x1", "a", "a_step"),
                                 MCT_X_LOAD4("x2", "a"), MCT_X_LOAD("x3", "a", "a_step"),
                                 MCT_X_LOAD4("y0", "b"), MCT_X_LOAD("y1", "b", "b_step"),
                                 MCT_X_LOAD4("y0", "b"), MCT_X_LOAD("y1", "b", "b_step"))
                     : MCT_X_SUMS(MCT_X_SUM), [a] "+r"(a), [b] "+r"(b), [x0] "=&r"(x0), [x1] "=&r"(x1),
                       [x2] "=&r"(x2), [x3] "=&r"(x3), [y0] "=&r"(y0), [y1] "+r"(y1)
                     : [a_step] "r"(a_step), [b_step] "r"(b_step)
                     : "memory");
#undef MCT_X_SUM
#undef MCT_X_PLACE
}

#endif
