/* PULP's inner loops of gradient descent on a dense layer's weights in L1, for kernels/tiled/dense_update.c.
 *
 * With sums of dx, blocks of four columns are the outer hardware loop and pairs of rows the inner one: all of
 * it fits a core's instruction cache. The floating-point unit, which two cores share, is its bound. */
#ifndef MCT_DESCENT_XPULP_H
#define MCT_DESCENT_XPULP_H

#include "assembly_xpulp.h"

/* Some columns of a tile, `pitch` bytes from row to row: blocks > 0 of four columns from w on; rows > 0, an
 * even number, with q and dy of the first row; x and sums of dx of the first column. */
struct mct_x_descent {
    const float *q;
    const mct_elem *dy;
    float *w;
    const float *x;
    float *sum;
    uint32_t pitch, rows, blocks;
};

#define MCT_X_LW(to, offset, from) "lw %[" to "], " offset "(%[" from "])\n\t"
#define MCT_X_SW(value, offset, to) "sw %[" value "], " offset "(%[" to "])\n\t"
#define MCT_X_MUL(to, a, b) "fmul.s %[" to "], %[" a "], %[" b "]\n\t"
#define MCT_X_SUB(to, a, b) "fsub.s %[" to "], %[" a "], %[" b "]\n\t"
#define MCT_X_SUM(acc, pair) MCT_XPULP_DOT("%[" acc "]", "%[g]", "%[" pair "]")

/* One column of two rows, v and w; what comes next is loaded by L and M. Ten instructions. */
#define MCT_X_WITH_DX(offset, x, acc, v, w, L, M)                                                            \
    MCT_X_NARROW("u", v, w)                                                                                  \
    L MCT_X_MUL("t", "q0", x)                                                                                \
    M MCT_X_SUM(acc, "u") MCT_X_SUB(v, v, "t") MCT_X_MUL("t", "q1", x) MCT_X_SW(v, offset, "w0")             \
        MCT_X_SUB(w, w, "t") MCT_X_SW(w, offset, "w1")

/* sum[c] continues with dy . column c, then the columns descend: w -= q * x[c]. */
static __attribute__((noinline)) void mct_x_descend_with_dx(const struct mct_x_descent *d) {
    const float *q = d->q, *x = d->x;
    const mct_elem *dy = d->dy;
    float *w = d->w, *sum = d->sum, *w0, *w1;
    float a0, a1, a2, a3, x0, x1, x2, x3, q0, q1, v0, v1, v2, v3;
    uint32_t g, u, t = d->blocks;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x1, %[t], 132\n\t" /* lp.setup: the next 66 instructions, for each block */
        MCT_X_LOAD4("x0", "x") "mv %[w0], %[w]\n\t"
        MCT_X_LOAD4("x1", "x") "srli %[t], %[step], 1\n\t"
        MCT_X_LOAD4("x2", "x") "add %[w1], %[w], %[t]\n\t"
        MCT_X_LOAD4("x3", "x") "addi %[w], %[w], 16\n\t"
        MCT_X_LW("a0", "0", "sum") MCT_X_LW("a1", "4", "sum") MCT_X_LW("a2", "8", "sum")
        MCT_X_LW("a3", "12", "sum")
        ".insn i 0x7b, 4, x0, %[pairs], 90\n\t" /* lp.setup: the next 45, for each pair of rows */
        MCT_X_LW("v0", "0", "w0")
        MCT_X_LOAD4("q0", "q")
        MCT_X_LW("v1", "0", "w1")
        MCT_X_LOAD4("q1", "q")
        MCT_X_LOAD4("g", "dy")
        MCT_X_WITH_DX("0", "x0", "a0", "v0", "v1", MCT_X_LW("v2", "4", "w0"), MCT_X_LW("v3", "4", "w1"))
        MCT_X_WITH_DX("4", "x1", "a1", "v2", "v3", MCT_X_LW("v0", "8", "w0"), MCT_X_LW("v1", "8", "w1"))
        MCT_X_WITH_DX("8", "x2", "a2", "v0", "v1", MCT_X_LW("v2", "12", "w0"), MCT_X_LW("v3", "12", "w1"))
        MCT_X_NARROW("u", "v2", "v3")
        MCT_X_MUL("t", "q0", "x3")
        MCT_X_SUB("v2", "v2", "t")
        MCT_X_SW("v2", "12", "w0")
        MCT_X_MUL("t", "q1", "x3")
        "add %[w0], %[w0], %[step]\n\t"
        MCT_X_SUB("v3", "v3", "t")
        MCT_X_SW("v3", "12", "w1")
        "add %[w1], %[w1], %[step]\n\t"
        MCT_X_SUM("a3", "u")
        "slli %[t], %[pairs], 3\n\t" /* back to the first row */
        "sub %[q], %[q], %[t]\n\t"
        "srli %[t], %[t], 1\n\t"
        "sub %[dy], %[dy], %[t]\n\t"
        MCT_X_STORE4("a0", "sum") MCT_X_STORE4("a1", "sum") MCT_X_STORE4("a2", "sum")
        MCT_X_STORE4("a3", "sum")
        ".option pop"
        : [q] "+r"(q), [dy] "+r"(dy), [w] "+r"(w), [x] "+r"(x), [sum] "+r"(sum), [t] "+r"(t),
          [w0] "=&r"(w0), [w1] "=&r"(w1), [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3),
          [x0] "=&r"(x0), [x1] "=&r"(x1), [x2] "=&r"(x2), [x3] "=&r"(x3), [q0] "=&r"(q0), [q1] "=&r"(q1),
          [v0] "=&r"(v0), [v1] "=&r"(v1), [v2] "=&r"(v2), [v3] "=&r"(v3), [g] "=&r"(g), [u] "=&r"(u)
        : [step] "r"(2 * d->pitch), [pairs] "r"(d->rows / 2)
        : "memory");
    /* clang-format on */
}

/* The columns descend, and that is all: two rows at a time, from left to right. */
static __attribute__((noinline)) void mct_x_descend(const struct mct_x_descent *d) {
    const float *q = d->q;
    float *w0 = d->w, *w1;
    for (uint32_t pairs = d->rows / 2; pairs; pairs--, q += 2, w0 = w1) {
        const float *x = d->x;
        float v, v0, v1, t;
        w1 = (float *)(void *)((uint8_t *)w0 + d->pitch);
        /* clang-format off */
        __asm__ volatile(
            ".option push\n\t.option norvc\n\t"
            ".insn i 0x7b, 4, x0, %[columns], 18\n\t" /* lp.setup: the next 9 instructions */
            MCT_X_LOAD4("v", "x")
            MCT_X_LW("v0", "0", "w0")
            MCT_X_MUL("t", "q0", "v")
            MCT_X_LW("v1", "0", "w1")
            MCT_X_SUB("v0", "v0", "t")
            MCT_X_MUL("t", "q1", "v")
            MCT_X_STORE4("v0", "w0")
            MCT_X_SUB("v1", "v1", "t")
            MCT_X_STORE4("v1", "w1")
            ".option pop"
            : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [v] "=&r"(v), [v0] "=&r"(v0), [v1] "=&r"(v1),
              [t] "=&r"(t)
            : [q0] "r"(q[0]), [q1] "r"(q[1]), [columns] "r"(4 * d->blocks)
            : "memory");
        /* clang-format on */
    }
}

#endif
