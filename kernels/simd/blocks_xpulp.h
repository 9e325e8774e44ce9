/* PULP's inner loops over operands in L1, for the kernels in kernels/tiled.
 *
 * Every block of 4 by 4 sums takes 16 dots and 8 loads a step, spread so that two cores that share a
 * floating-point unit get in each other's way as little as possible; what the next step needs is loaded
 * meanwhile. Loads advance their pointer.
 */
#ifndef MCT_BLOCKS_XPULP_H
#define MCT_BLOCKS_XPULP_H

#include "assembly_xpulp.h"

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

/* S0 .. S3: where the pairs of four columns go. */
#define MCT_X_PAIRS(name, S0, S1, S2, S3)                                                                    \
    MCT_INLINE void name(mct_elem *first, mct_elem *second, uint32_t words) {                                \
        uint32_t a, b, c, d, t = words / 2;                                                                  \
        if (t)                                                                                               \
            __asm__ volatile(".option push\n\t"                                                              \
                             ".option norvc\n\t"                                                             \
                             ".insn i 0x7b, 4, x0, %[t], 24\n\t" /* lp.setup: the next 12, t times */        \
                             "lw %[a], 0(%[first])\n\t"                                                      \
                             "lw %[b], 0(%[second])\n\t"                                                     \
                             "lw %[c], 4(%[first])\n\t"                                                      \
                             "lw %[d], 4(%[second])\n\t"                                                     \
                             ".insn r 0x57, 0, 0x68, %[t], %[b], %[a]\n\t" /* pv.pack.h */                   \
                             ".insn s 0x2b, 2, %[t], 4(%[" S0 "])\n\t"                                       \
                             ".insn r 0x57, 0, 0x64, %[a], %[b], %[select]\n\t" /* pv.shuffle2.h */          \
                             ".insn s 0x2b, 2, %[a], 4(%[" S1 "])\n\t"                                       \
                             ".insn r 0x57, 0, 0x68, %[t], %[d], %[c]\n\t"                                   \
                             ".insn s 0x2b, 2, %[t], 4(%[" S2 "])\n\t"                                       \
                             ".insn r 0x57, 0, 0x64, %[c], %[d], %[select]\n\t"                              \
                             ".insn s 0x2b, 2, %[c], 4(%[" S3 "])\n\t"                                       \
                             ".option pop"                                                                   \
                             : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "+r"(t),          \
                               [first] "+r"(first), [second] "+r"(second)                                    \
                             : [select] "r"(0x00030001u)                                                     \
                             : "memory");                                                                    \
    }

/* Two rows of `words` pairs, an even number, become pairs over the rows, in place: where the first row had
 * elements 2 j and 2 j + 1 it has the two elements 2 j, the second row the two elements 2 j + 1. */
MCT_X_PAIRS(mct_x_pair_rows, "first", "second", "first", "second")
/* The same in another order: where the first row had elements 4 j to 4 j + 3 it has the two elements 4 j and
 * the two 4 j + 1, the second row those 4 j + 2 and 4 j + 3. */
MCT_X_PAIRS(mct_x_pair_fours, "first", "first", "second", "second")

/* What mct_x_tn_blocks has no registers for. The assembly knows the offsets. */
struct mct_x_tn {
    const mct_elem *a, *b;  /*  0,  4: a moves on */
    int32_t a_step, b_step; /*  8, 12: bytes to the next row but one word */
    uint32_t more;          /* 16: pairs but the last */
    uint32_t blocks;        /* 20 */
    float *acc;             /* 24 */
    int32_t pitch, back;    /* 28, 32: bytes to the next row of acc; from the end of a block to the next */
};

/* clang-format off */
#define MCT_X_TN_DOT(s, x, y) ".insn r 0x33, 0, 0x4b, %[" #s "], %[" #x "], %[" #y "]\n\t"
#define MCT_X_TN_WORD(to, p) ".insn i 0x0b, 2, %[" #to "], 4(%[" #p "])\n\t"
#define MCT_X_TN_ROW(to, p, by) ".insn r 0x0b, 7, 0x10, %[" #to "], %[" #p "], %[" #by "]\n\t"
#define MCT_X_TN_GET(to, offset, p) "lw %[" #to "], " #offset "(%[" #p "])\n\t"
#define MCT_X_TN_PUT(s, offset, p) "sw %[" #s "], " #offset "(%[" #p "])\n\t"
#define MCT_X_TN_DOWN "add %[p], %[p], %[pitch]\n\t"
#define MCT_X_TN_SUMS(a, b, c, d)                                                                            \
    MCT_X_TN_GET(a, 0, p) MCT_X_TN_GET(b, 8, p) MCT_X_TN_GET(c, 4, p) MCT_X_TN_GET(d, 12, p)

/* acc[r][c] continues with the dot product of column r of b and column c of a, for four columns of b and
 * 4 * k->blocks > 0 columns of a, all from mct_x_pair_rows. Rows of acc are in the order 0, 2, 1, 3, which
 * is that of the words in a pair of rows; what follows a row's end, 16 bytes, is read but not used.
 *
 * Sums go to memory and those of the next block come between the dots of a block's last pairs. Both loops end
 * on instructions of PULP's, which an emulation sees. */
MCT_INLINE void mct_x_tn_blocks(struct mct_x_tn *k) {
    uint32_t s[16], t[11];
    __asm__ volatile(
        ".option push\n\t"
        ".option norvc\n\t"
        "addi sp, sp, -16\n\t"
        "sw %[a], 0(sp)\n\t"
        MCT_X_TN_GET(p, 24, a) MCT_X_TN_GET(pitch, 28, a) MCT_X_TN_GET(x0, 20, a)
        MCT_X_TN_SUMS(s00, s10, s20, s30) MCT_X_TN_DOWN MCT_X_TN_SUMS(s01, s11, s21, s31) MCT_X_TN_DOWN
        MCT_X_TN_SUMS(s02, s12, s22, s32) MCT_X_TN_DOWN MCT_X_TN_SUMS(s03, s13, s23, s33)
        MCT_X_TN_GET(p, 24, a) MCT_X_TN_GET(b, 4, a) MCT_X_TN_GET(a_step, 8, a) MCT_X_TN_GET(b_step, 12, a)
        MCT_X_TN_GET(y1, 16, a) MCT_X_TN_GET(a, 0, a)
        ".balign 16\n\t"
        ".insn i 0x7b, 4, x1, %[x0], 2*94\n\t" /* lp.setup: the outer loop */
        MCT_X_TN_WORD(x0, a) MCT_X_TN_ROW(x1, a, a_step) MCT_X_TN_WORD(x2, a) MCT_X_TN_WORD(y0, b)
        "beqz %[y1], 1f\n\t"
        ".insn i 0x7b, 4, x0, %[y1], 48\n\t" /* lp.setup: the next 24 instructions */
        MCT_X_TN_DOT(s00, x0, y0) MCT_X_TN_ROW(x3, a, a_step) MCT_X_TN_DOT(s10, x1, y0)
        MCT_X_TN_ROW(y1, b, b_step) MCT_X_TN_DOT(s20, x2, y0) MCT_X_TN_DOT(s30, x3, y0)
        MCT_X_TN_DOT(s01, x0, y1) MCT_X_TN_WORD(y0, b) MCT_X_TN_DOT(s11, x1, y1) MCT_X_TN_DOT(s21, x2, y1)
        MCT_X_TN_DOT(s31, x3, y1)
        MCT_X_TN_DOT(s02, x0, y0) MCT_X_TN_ROW(y1, b, b_step) MCT_X_TN_DOT(s12, x1, y0)
        MCT_X_TN_DOT(s22, x2, y0) MCT_X_TN_DOT(s32, x3, y0)
        MCT_X_TN_DOT(s03, x0, y1) MCT_X_TN_WORD(y0, b) MCT_X_TN_DOT(s13, x1, y1) MCT_X_TN_WORD(x0, a)
        MCT_X_TN_DOT(s23, x2, y1) MCT_X_TN_ROW(x1, a, a_step) MCT_X_TN_DOT(s33, x3, y1)
        MCT_X_TN_WORD(x2, a)
        "1:\n\t"
        MCT_X_TN_DOT(s00, x0, y0) MCT_X_TN_ROW(x3, a, a_step) MCT_X_TN_DOT(s10, x1, y0)
        MCT_X_TN_ROW(y1, b, b_step) MCT_X_TN_DOT(s20, x2, y0) MCT_X_TN_PUT(s00, 0, p)
        MCT_X_TN_DOT(s30, x3, y0) MCT_X_TN_GET(s00, 16, p) MCT_X_TN_PUT(s10, 8, p)
        MCT_X_TN_DOT(s01, x0, y1) MCT_X_TN_WORD(y0, b) MCT_X_TN_GET(s10, 24, p)
        MCT_X_TN_DOT(s11, x1, y1) MCT_X_TN_PUT(s20, 4, p) MCT_X_TN_GET(s20, 20, p)
        MCT_X_TN_DOT(s21, x2, y1) MCT_X_TN_PUT(s30, 12, p) MCT_X_TN_GET(s30, 28, p)
        MCT_X_TN_DOT(s31, x3, y1) MCT_X_TN_DOWN "lw %[a], 0(sp)\n\t"
        MCT_X_TN_DOT(s02, x0, y0) MCT_X_TN_ROW(y1, b, b_step) MCT_X_TN_PUT(s01, 0, p)
        MCT_X_TN_DOT(s12, x1, y0) MCT_X_TN_GET(s01, 16, p) MCT_X_TN_PUT(s11, 8, p)
        MCT_X_TN_DOT(s22, x2, y0) MCT_X_TN_GET(s11, 24, p) MCT_X_TN_PUT(s21, 4, p)
        MCT_X_TN_DOT(s32, x3, y0) MCT_X_TN_GET(s21, 20, p) MCT_X_TN_PUT(s31, 12, p)
        MCT_X_TN_DOT(s03, x0, y1) MCT_X_TN_GET(x0, 0, a) MCT_X_TN_GET(s31, 28, p) MCT_X_TN_DOWN
        MCT_X_TN_DOT(s13, x1, y1) MCT_X_TN_PUT(s02, 0, p) MCT_X_TN_GET(s02, 16, p)
        MCT_X_TN_DOT(s23, x2, y1) MCT_X_TN_PUT(s12, 8, p) MCT_X_TN_GET(s12, 24, p)
        MCT_X_TN_DOT(s33, x3, y1) "addi %[x0], %[x0], 8\n\t"
        MCT_X_TN_PUT(s22, 4, p) MCT_X_TN_GET(s22, 20, p) MCT_X_TN_PUT(s32, 12, p) MCT_X_TN_GET(s32, 28, p)
        MCT_X_TN_DOWN MCT_X_TN_PUT(x0, 0, a) MCT_X_TN_GET(b, 4, a) MCT_X_TN_GET(x3, 32, a)
        MCT_X_TN_GET(y1, 16, a) "mv %[a], %[x0]\n\t"
        MCT_X_TN_PUT(s03, 0, p) MCT_X_TN_GET(s03, 16, p) MCT_X_TN_PUT(s13, 8, p) MCT_X_TN_GET(s13, 24, p)
        MCT_X_TN_PUT(s23, 4, p) MCT_X_TN_GET(s23, 20, p) MCT_X_TN_PUT(s33, 12, p) "addi %[p], %[p], 28\n\t"
        MCT_X_TN_ROW(s33, p, x3)
        "addi sp, sp, 16\n\t"
        ".option pop"
        : [s00] "=&r"(s[0]), [s01] "=&r"(s[1]), [s02] "=&r"(s[2]), [s03] "=&r"(s[3]), [s10] "=&r"(s[4]),
          [s11] "=&r"(s[5]), [s12] "=&r"(s[6]), [s13] "=&r"(s[7]), [s20] "=&r"(s[8]), [s21] "=&r"(s[9]),
          [s22] "=&r"(s[10]), [s23] "=&r"(s[11]), [s30] "=&r"(s[12]), [s31] "=&r"(s[13]),
          [s32] "=&r"(s[14]), [s33] "=&r"(s[15]), [x0] "=&r"(t[0]), [x1] "=&r"(t[1]), [x2] "=&r"(t[2]),
          [x3] "=&r"(t[3]), [y0] "=&r"(t[4]), [y1] "=&r"(t[5]), [a] "+r"(k), [b] "=&r"(t[6]),
          [a_step] "=&r"(t[7]), [b_step] "=&r"(t[8]), [p] "=&r"(t[9]), [pitch] "=&r"(t[10])
        :: "memory");
    (void)s, (void)t;
}
/* clang-format on */

#endif
