/* PULP's inner loops of gradient descent on a dense layer's weights in L1, for kernels/tiled/dense_update.c.
 *
 * A step is two rows of four columns. FPU operations stand apart, so that the core that shares the unit gets
 * its turn, and loads away from their use. */
#ifndef MCT_DESCENT_XPULP_H
#define MCT_DESCENT_XPULP_H

#include "simd.h"

/* q[rows] and the packed dy[rows] of the rows, an even number; w: their first column, rows `pitch` bytes
 * apart. */
struct mct_x_descent {
    const float *q;
    const mct_elem *dy;
    float *w;
    uint32_t pitch, rows;
};

#define MCT_X_LW(to, offset, from) "lw %[" to "], " offset "(%[" from "])\n\t"
#define MCT_X_SW(value, offset, to) "sw %[" value "], " offset "(%[" to "])\n\t"
#define MCT_X_NEXT(to, from) ".insn i 0x0b, 2, %[" to "], 4(%[" from "])\n\t"
#define MCT_X_MUL(to, a, b) "fmul.s %[" to "], %[" a "], %[" b "]\n\t"
#define MCT_X_SUB(to, a, b) "fsub.s %[" to "], %[" a "], %[" b "]\n\t"
#define MCT_X_CPKA(to, low, high) ".insn r 0x33, 2, 0x58, %[" to "], %[" low "], %[" high "]\n\t"
#define MCT_X_SUM(acc, pair) MCT_XPULP_DOT("%[" acc "]", "%[g]", "%[" pair "]")

/* One column of two rows with its products in (t, u), while L brings what comes next. */
#define MCT_X_WITH_DX(offset, x, acc, v, w, L, M)                                                            \
    MCT_X_MUL("t", "q0", x)                                                                                  \
    L MCT_X_MUL("u", "q1", x)                                                                                \
    M MCT_X_CPKA("p", v, w) MCT_X_SUB(v, v, "t") MCT_X_SUB(w, w, "u") MCT_X_SW(v, offset, "w0")              \
        MCT_X_SUM(acc, "p") MCT_X_SW(w, offset, "w1")

/* sum[c] continues with dy . column c, then the columns descend: w -= q * x[c]. */
static inline void mct_x_descend_with_dx(const struct mct_x_descent *d, float sum[4], const float x[4]) {
    const float *q = d->q;
    const mct_elem *dy = d->dy;
    float *w0 = d->w, *w1 = (float *)(void *)((uint8_t *)d->w + d->pitch);
    float a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
    float q0, q1, t, u, v0, v1, v2, v3;
    uint32_t g, p;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x0, %[count], 90\n\t" /* lp.setup: the next 45 instructions */
        MCT_X_LW("v0", "0", "w0")
        MCT_X_NEXT("q0", "q")
        MCT_X_LW("v1", "0", "w1")
        MCT_X_NEXT("q1", "q")
        MCT_X_NEXT("g", "dy")
        MCT_X_WITH_DX("0", "x0", "a0", "v0", "v1", MCT_X_LW("v2", "4", "w0"), MCT_X_LW("v3", "4", "w1"))
        MCT_X_WITH_DX("4", "x1", "a1", "v2", "v3", MCT_X_LW("v0", "8", "w0"), MCT_X_LW("v1", "8", "w1"))
        MCT_X_WITH_DX("8", "x2", "a2", "v0", "v1", MCT_X_LW("v2", "12", "w0"), MCT_X_LW("v3", "12", "w1"))
        MCT_X_MUL("t", "q0", "x3")
        MCT_X_MUL("u", "q1", "x3")
        MCT_X_CPKA("p", "v2", "v3")
        MCT_X_SUB("v2", "v2", "t")
        MCT_X_SUB("v3", "v3", "u")
        MCT_X_SW("v2", "12", "w0")
        MCT_X_SW("v3", "12", "w1")
        "add %[w0], %[w0], %[step]\n\t"
        "add %[w1], %[w1], %[step]\n\t"
        MCT_X_SUM("a3", "p")
        ".option pop"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [q] "+r"(q), [dy] "+r"(dy),
          [w0] "+r"(w0), [w1] "+r"(w1), [q0] "=&r"(q0), [q1] "=&r"(q1), [t] "=&r"(t), [u] "=&r"(u),
          [v0] "=&r"(v0), [v1] "=&r"(v1), [v2] "=&r"(v2), [v3] "=&r"(v3), [g] "=&r"(g), [p] "=&r"(p)
        : [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [x3] "r"(x[3]), [step] "r"(2 * d->pitch),
          [count] "r"(d->rows / 2)
        : "memory");
    /* clang-format on */
    sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
}

/* The columns descend, and that is all. Reads two numbers beyond q. */
static inline void mct_x_descend(const struct mct_x_descent *d, const float x[4]) {
    const float *q = d->q;
    float *w0 = d->w, *w1 = (float *)(void *)((uint8_t *)d->w + d->pitch);
    float q0, q1, t, u, v0, v1, v2, v3;
    /* clang-format off */
#define MCT_X_PLAIN(offset, x, v, w, L, M)                                                                   \
    MCT_X_MUL("t", "q0", x) L MCT_X_MUL("u", "q1", x) M MCT_X_SUB(v, v, "t") MCT_X_SW(v, offset, "w0")       \
    MCT_X_SUB(w, w, "u") MCT_X_SW(w, offset, "w1")
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        MCT_X_NEXT("q0", "q")
        MCT_X_NEXT("q1", "q")
        ".insn i 0x7b, 4, x0, %[count], 72\n\t" /* lp.setup: the next 36 instructions */
        MCT_X_LW("v0", "0", "w0")
        MCT_X_LW("v1", "0", "w1")
        MCT_X_PLAIN("0", "x0", "v0", "v1", MCT_X_LW("v2", "4", "w0"), MCT_X_LW("v3", "4", "w1"))
        MCT_X_PLAIN("4", "x1", "v2", "v3", MCT_X_LW("v0", "8", "w0"), MCT_X_LW("v1", "8", "w1"))
        MCT_X_PLAIN("8", "x2", "v0", "v1", MCT_X_LW("v2", "12", "w0"), MCT_X_LW("v3", "12", "w1"))
        MCT_X_PLAIN("12", "x3", "v2", "v3", , )
        "add %[w0], %[w0], %[step]\n\t"
        MCT_X_NEXT("q0", "q")
        "add %[w1], %[w1], %[step]\n\t"
        MCT_X_NEXT("q1", "q")
        ".option pop"
        : [q] "+r"(q), [w0] "+r"(w0), [w1] "+r"(w1), [q0] "=&r"(q0), [q1] "=&r"(q1), [t] "=&r"(t),
          [u] "=&r"(u), [v0] "=&r"(v0), [v1] "=&r"(v1), [v2] "=&r"(v2), [v3] "=&r"(v3)
        : [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [x3] "r"(x[3]), [step] "r"(2 * d->pitch),
          [count] "r"(d->rows / 2)
        : "memory");
    /* clang-format on */
#undef MCT_X_PLAIN
}

#endif
