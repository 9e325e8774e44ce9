/* Four rows of a matrix product, from the operands to the stored halves, in PULP's instructions.
 *
 * A block is four rows of a by four rows of b, its sums in sixteen registers. Two hardware loops are nested:
 * the outer over blocks, the inner over pairs of the reduction, with 16 dots and 8 loads. Of two cores that
 * share a floating-point unit one should compute while the other does not: so loads, and what is done with
 * finished sums, stand between dots and never two together in the inner loop. Both loops end on instructions
 * of PULP's, which an emulation sees (targets/qemu-xpulp). */
#ifndef MCT_ROWS_XPULP_H
#define MCT_ROWS_XPULP_H

#include "gemm_block.h"

/* What the inner loop has no registers for. The assembly knows the offsets. */
struct mct_xpulp_rows {
    const mct_elem *a, *b;  /*  0,  4 */
    int32_t a_step, a_back; /*  8, 12: bytes to the next row, and from the last row to the next pair */
    int32_t b_step, b_back; /* 16, 20 */
    uint32_t more;          /* 24: pairs but the last */
    uint32_t blocks;        /* 28 */
    mct_elem *y[4];         /* 32, 36, 40, 44: move on */
    const float *bias;      /* 48: moves on */
    uint32_t bound;         /* 52: two halves, as integers */
    int32_t b_next;         /* 56: bytes from the last load of a block to the first of the next */
};

/* clang-format off */
/* s += x . y; to = memory at `from`, which moves by `by`; s = {high, s} in halves; s not below the bound;
 * s += v; s = 0; memory at p = s */
#define MCT_DOT(s, x, y) ".insn r 0x33, 0, 0x4b, %[" #s "], %[" #x "], %[" #y "]\n\t"
#define MCT_NEXT(to, from, by) ".insn r 0x0b, 7, 0x10, %[" #to "], %[" #from "], %[" #by "]\n\t"
#define MCT_WORD(to, from) ".insn i 0x0b, 2, %[" #to "], 4(%[" #from "])\n\t"
#define MCT_PACK(s, high) ".insn r 0x33, 2, 0x58, %[" #s "], %[" #s "], %[" #high "]\n\t"
#define MCT_BOUND(s, bound) ".insn r 0x57, 0, 0x18, %[" #s "], %[" #s "], %[" #bound "]\n\t"
#define MCT_ADD_F(s, v) "fadd.s %[" #s "], %[" #s "], %[" #v "]\n\t"
#define MCT_ADD_I(s, v) "addi %[" #s "], %[" #s "], " #v "\n\t"
#define MCT_ZERO(s) "mv %[" #s "], zero\n\t"
#define MCT_LW(to, offset, p) "lw %[" #to "], " #offset "(%[" #p "])\n\t"
#define MCT_SW(s, offset, p) "sw %[" #s "], " #offset "(%[" #p "])\n\t"
#define MCT_SW_NEXT(s, by, p) ".insn s 0x2b, 2, %[" #s "], " #by "(%[" #p "])\n\t"

/* Up to the last step of a block; LENGTH is twice the outer loop's, in instructions. Whenever a block begins,
 * a holds the address of struct mct_xpulp_rows, and b that of the block's first row of b. Y0 loads the first
 * and the third of four pairs of b. */
#define MCT_BLOCK_BEGIN(LENGTH, Y0)                                                                          \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t"                                                                                      \
    "addi sp, sp, -16\n\t"                                                                                   \
    "sw %[a], 0(sp)\n\t"                                                                                     \
    MCT_LW(x0, 28, a) MCT_LW(b, 4, a) MCT_LW(a_step, 8, a) MCT_LW(a_back, 12, a) MCT_LW(b_step, 16, a)       \
    MCT_ZERO(s00) MCT_ZERO(s01) MCT_ZERO(s02) MCT_ZERO(s03) MCT_ZERO(s10) MCT_ZERO(s11) MCT_ZERO(s12)        \
    MCT_ZERO(s13) MCT_ZERO(s20) MCT_ZERO(s21) MCT_ZERO(s22) MCT_ZERO(s23) MCT_ZERO(s30) MCT_ZERO(s31)        \
    MCT_ZERO(s33)                                                                                            \
    ".balign 16\n\t" ".insn i 0x7b, 4, x1, %[x0], " LENGTH "\n\t" /* lp.setup: the outer loop */             \
    MCT_LW(b_back, 20, a) MCT_LW(y1, 24, a) MCT_LW(a, 0, a)                                                  \
    MCT_ZERO(s32)                                                                                            \
    MCT_NEXT(x0, a, a_step) MCT_NEXT(x1, a, a_step) MCT_NEXT(x2, a, a_step) Y0                               \
    "beqz %[y1], 1f\n\t"                                                                                     \
    ".insn i 0x7b, 4, x0, %[y1], 48\n\t" /* lp.setup: the next 24 instructions */                            \
    MCT_DOT(s00, x0, y0) MCT_NEXT(x3, a, a_back) MCT_DOT(s10, x1, y0) MCT_NEXT(y1, b, b_step)                \
    MCT_DOT(s20, x2, y0) MCT_DOT(s30, x3, y0)                                                                \
    MCT_DOT(s01, x0, y1) Y0 MCT_DOT(s11, x1, y1) MCT_DOT(s21, x2, y1)                                        \
    MCT_DOT(s31, x3, y1)                                                                                     \
    MCT_DOT(s02, x0, y0) MCT_NEXT(y1, b, b_back) MCT_DOT(s12, x1, y0) MCT_DOT(s22, x2, y0)                   \
    MCT_DOT(s32, x3, y0)                                                                                     \
    MCT_DOT(s03, x0, y1) Y0 MCT_DOT(s13, x1, y1) MCT_NEXT(x0, a, a_step)                                     \
    MCT_DOT(s23, x2, y1) MCT_NEXT(x1, a, a_step) MCT_DOT(s33, x3, y1) MCT_NEXT(x2, a, a_step)                \
    "1:\n\t"                                                                                                 \
    MCT_DOT(s00, x0, y0) MCT_NEXT(x3, a, a_back) MCT_DOT(s10, x1, y0) MCT_NEXT(y1, b, b_step)                \
    MCT_DOT(s20, x2, y0) "lw %[a], 0(sp)\n\t" MCT_DOT(s30, x3, y0)                                           \
    MCT_DOT(s01, x0, y1) Y0 MCT_DOT(s11, x1, y1) MCT_LW(b_back, 56, a)                                       \
    MCT_DOT(s21, x2, y1) MCT_DOT(s31, x3, y1)

#define MCT_BLOCK_END                                                                                        \
    "addi sp, sp, 16\n\t"                                                                                    \
    ".option pop"

/* The rest of the last step, and the sums as they are. */
#define MCT_BLOCK_PLAIN(Y0)                                                                                  \
    MCT_BLOCK_BEGIN("192", Y0)                                                                               \
    MCT_PACK(s00, s01) MCT_DOT(s02, x0, y0) MCT_NEXT(y1, b, b_back) MCT_DOT(s12, x1, y0)                     \
    MCT_LW(b_back, 32, a) MCT_PACK(s10, s11) MCT_ZERO(s01) MCT_DOT(s22, x2, y0)                              \
    MCT_SW_NEXT(s00, 4, b_back) MCT_PACK(s20, s21) MCT_ZERO(s11) MCT_DOT(s32, x3, y0)                        \
    MCT_ZERO(s00) MCT_DOT(s03, x0, y1) MCT_LW(x0, 36, a) MCT_PACK(s30, s31) MCT_ZERO(s21)                    \
    MCT_DOT(s13, x1, y1) MCT_SW_NEXT(s10, 4, x0) MCT_LW(x1, 40, a) MCT_DOT(s23, x2, y1)                      \
    MCT_ZERO(s31) MCT_LW(x2, 44, a) MCT_DOT(s33, x3, y1) MCT_SW_NEXT(s20, 4, x1)                             \
    MCT_PACK(s02, s03) MCT_ZERO(s10) MCT_ZERO(s20)                                                           \
    MCT_PACK(s12, s13) MCT_SW_NEXT(s02, 4, b_back) MCT_SW_NEXT(s30, 4, x2)                                   \
    MCT_PACK(s22, s23) MCT_SW_NEXT(s12, 4, x0) MCT_SW(b_back, 32, a)                                         \
    MCT_PACK(s32, s33) MCT_SW_NEXT(s22, 4, x1) MCT_SW(x0, 36, a)                                             \
    MCT_SW(x1, 40, a) "addi %[x0], %[x2], 4\n\t"                                                             \
    MCT_ZERO(s02) MCT_ZERO(s03) MCT_ZERO(s12) MCT_ZERO(s13) MCT_ZERO(s22) MCT_ZERO(s23)                      \
    MCT_SW(x0, 44, a)                                                                                        \
    MCT_ZERO(s30) MCT_ZERO(s33)                                                                              \
    MCT_SW_NEXT(s32, 4, x2)                                                                                  \
    MCT_BLOCK_END

/* The rest of the last step, the bias added, nothing below the bound. */
#define MCT_BLOCK_BIAS                                                                                       \
    MCT_BLOCK_BEGIN("256", MCT_NEXT(y0, b, b_step))                                                          \
    MCT_DOT(s02, x0, y0) MCT_NEXT(y1, b, b_back) MCT_DOT(s12, x1, y0) MCT_LW(b_back, 48, a)                  \
    MCT_DOT(s22, x2, y0) MCT_DOT(s32, x3, y0)                                                                \
    MCT_DOT(s03, x0, y1) MCT_LW(x0, 0, b_back) MCT_DOT(s13, x1, y1) MCT_LW(x1, 4, b_back)                    \
    MCT_DOT(s23, x2, y1) MCT_LW(x2, 8, b_back) MCT_DOT(s33, x3, y1) MCT_LW(x3, 12, b_back)                   \
    MCT_ADD_F(s00, x0) MCT_ADD_I(b_back, 16) MCT_ADD_F(s01, x1) MCT_SW(b_back, 48, a)                        \
    MCT_ADD_F(s02, x2) MCT_LW(y0, 52, a) MCT_PACK(s00, s01) MCT_LW(b_back, 32, a)                            \
    MCT_ADD_F(s03, x3) MCT_BOUND(s00, y0) MCT_ADD_F(s10, x0) MCT_SW_NEXT(s00, 4, b_back)                     \
    MCT_PACK(s02, s03) MCT_ZERO(s01) MCT_ADD_F(s11, x1) MCT_BOUND(s02, y0)                                   \
    MCT_ADD_F(s12, x2) MCT_LW(y1, 36, a) MCT_PACK(s10, s11) MCT_SW_NEXT(s02, 4, b_back)                      \
    MCT_ADD_F(s13, x3) MCT_BOUND(s10, y0) MCT_ADD_F(s20, x0) MCT_SW(b_back, 32, a)                           \
    MCT_PACK(s12, s13) MCT_SW_NEXT(s10, 4, y1) MCT_ADD_F(s21, x1) MCT_BOUND(s12, y0)                         \
    MCT_ADD_F(s22, x2) MCT_LW(b_back, 40, a) MCT_PACK(s20, s21) MCT_SW_NEXT(s12, 4, y1)                      \
    MCT_ADD_F(s23, x3) MCT_BOUND(s20, y0) MCT_ADD_F(s30, x0) MCT_SW(y1, 36, a)                               \
    MCT_PACK(s22, s23) MCT_SW_NEXT(s20, 4, b_back) MCT_ADD_F(s31, x1) MCT_BOUND(s22, y0)                     \
    MCT_ADD_F(s32, x2) MCT_LW(y1, 44, a) MCT_PACK(s30, s31) MCT_SW_NEXT(s22, 4, b_back)                      \
    MCT_ADD_F(s33, x3) MCT_BOUND(s30, y0) MCT_PACK(s32, s33) MCT_SW(b_back, 40, a)                           \
    MCT_SW_NEXT(s30, 4, y1) MCT_BOUND(s32, y0) "addi %[x0], %[y1], 4\n\t"                                    \
    MCT_ZERO(s00) MCT_ZERO(s02) MCT_ZERO(s03) MCT_ZERO(s10) MCT_ZERO(s11) MCT_ZERO(s12) MCT_ZERO(s13)        \
    MCT_SW(x0, 44, a)                                                                                        \
    MCT_ZERO(s20) MCT_ZERO(s21) MCT_ZERO(s22) MCT_ZERO(s23) MCT_ZERO(s30) MCT_ZERO(s31) MCT_ZERO(s33)        \
    MCT_SW_NEXT(s32, 4, y1)                                                                                  \
    MCT_BLOCK_END

#define MCT_RUN_BLOCKS(code)                                                                                 \
    __asm__ volatile(code                                                                                    \
                     : [s00] "=&r"(s[0]), [s01] "=&r"(s[1]), [s02] "=&r"(s[2]), [s03] "=&r"(s[3]),           \
                       [s10] "=&r"(s[4]), [s11] "=&r"(s[5]), [s12] "=&r"(s[6]), [s13] "=&r"(s[7]),           \
                       [s20] "=&r"(s[8]), [s21] "=&r"(s[9]), [s22] "=&r"(s[10]), [s23] "=&r"(s[11]),         \
                       [s30] "=&r"(s[12]), [s31] "=&r"(s[13]), [s32] "=&r"(s[14]), [s33] "=&r"(s[15]),       \
                       [x0] "=&r"(t[0]), [x1] "=&r"(t[1]), [x2] "=&r"(t[2]), [x3] "=&r"(t[3]),               \
                       [y0] "=&r"(t[4]), [y1] "=&r"(t[5]), [a] "+r"(at), [b] "=&r"(t[6]),                    \
                       [a_step] "=&r"(t[7]), [a_back] "=&r"(t[8]), [b_step] "=&r"(t[9]),                     \
                       [b_back] "=&r"(t[10])::"memory")
/* clang-format on */

/* Whether mct_rows_4x4 does what follows the sums. */
MCT_INLINE bool mct_rows_can(const struct mct_finish *finish) {
    return finish->activation == MCT_NO_ACTIVATION || (finish->activation == MCT_RELU && finish->bias);
}

/* y[r][c] = sum_k a[r][k] * b[c][k] + bias[c], 0 where that is negative if relu, for four rows r and columns
 * c < 4 * blocks, over 2 * pairs > 0 elements; rows lie a_stride and b_stride elements apart. Without a bias
 * (null) there is no relu. */
MCT_INLINE void mct_rows_4x4(mct_elem *const y[4], const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                             uint32_t b_stride, uint32_t pairs, uint32_t blocks, const float *bias,
                             bool relu) {
    int32_t a_step = (int32_t)(a_stride * sizeof(mct_elem)), b_step = (int32_t)(b_stride * sizeof(mct_elem));
    struct mct_xpulp_rows rows = {
        .a = a,
        .b = b,
        .a_step = a_step,
        .a_back = 4 - 3 * a_step,
        .b_step = b_step,
        .b_back = 4 - 3 * b_step,
        .more = pairs - 1,
        .blocks = blocks,
        .y = {y[0], y[1], y[2], y[3]},
        .bias = bias,
        /* pv.max.h with the least integer leaves all; and no sum is -0, having begun with +0 */
        .bound = relu ? 0 : 0x80008000u,
        .b_next = b_step - 4 * (int32_t)(pairs - 1),
    };
    struct mct_xpulp_rows *at = &rows;
    uint32_t s[16], t[11];
    if (bias)
        MCT_RUN_BLOCKS(MCT_BLOCK_BIAS);
    else
        MCT_RUN_BLOCKS(MCT_BLOCK_PLAIN(MCT_NEXT(y0, b, b_step)));
    (void)s, (void)t;
}

/* y[r][c] = sum_k a[r][k] * b[k][c] for four rows r and columns c < 4 * blocks, over 2 * pairs > 0 elements.
 * Rows k of b, which are `columns` long, have become pairs by mct_x_pair_fours. */
MCT_INLINE void mct_rows_paired_4x4(mct_elem *const y[4], const mct_elem *a, uint32_t a_stride,
                                    const mct_elem *b, uint32_t columns, uint32_t pairs, uint32_t blocks) {
    int32_t a_step = (int32_t)(a_stride * sizeof(mct_elem)), row = (int32_t)(columns * sizeof(mct_elem));
    struct mct_xpulp_rows rows = {
        .a = a,
        .b = b,
        .a_step = a_step,
        .a_back = 4 - 3 * a_step,
        .b_step = row - 4,
        .b_back = row - 4,
        .more = pairs - 1,
        .blocks = blocks,
        .y = {y[0], y[1], y[2], y[3]},
        .b_next = 4 - row * (int32_t)(2 * pairs - 1),
    };
    struct mct_xpulp_rows *at = &rows;
    uint32_t s[16], t[11];
    MCT_RUN_BLOCKS(MCT_BLOCK_PLAIN(MCT_WORD(y0, b)));
    (void)s, (void)t;
}

#endif
