/* Matrix products over a contiguous, even reduction (NT form), over operands in L1. */
#ifndef MCT_TILED_PRODUCT_NT_H
#define MCT_TILED_PRODUCT_NT_H

#include "simd/blocks_xpulp.h"
#include "simd/rows_xpulp.h"
#include "tiled/l1.h"

enum { MCT_NT_ROWS = 4 };

/* y[columns], of one row, = finish(sum + rest of x . w), for fewer than four columns or rows */
static void mct_nt_one(mct_elem *y, const mct_elem *x, const mct_elem *w, uint32_t depth,
                       const struct mct_finish *finish, uint32_t column) {
    float sum = 0;
    for (uint32_t k = 0; k < depth; k += 2)
        sum = mct_dot(sum, mct_load(x + k), mct_load(w + k));
    *y = mct_finished(sum, finish, column);
}

/* sum[c] continues with x . row c of w, over an even depth > 0, for four rows. Between loads there is
 * something else where it can be; the word after the first row's end is read. */
static void mct_nt_1x4(float sum[4], const mct_elem *x, const mct_elem *w, uint32_t w_step, uint32_t depth) {
    const mct_elem *w1 = w + w_step, *w2 = w1 + w_step, *w3 = w2 + w_step;
    uint32_t v, a, b;
    /* clang-format off */
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     MCT_X_LOAD4("a", "w0")
                     ".insn i 0x7b, 4, x0, %[pairs], 18\n\t" /* lp.setup: the next nine, pairs times */
                     MCT_X_LOAD4("v", "x")
                     MCT_X_LOAD4("b", "w1")
                     MCT_X_DOT("0", "v", "a") MCT_X_LOAD4("a", "w2")
                     MCT_X_DOT("1", "v", "b") MCT_X_LOAD4("b", "w3")
                     MCT_X_DOT("2", "v", "a") MCT_X_LOAD4("a", "w0")
                     MCT_X_DOT("3", "v", "b")
                     ".option pop"
                     : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]), [x] "+r"(x), [w0] "+r"(w),
                       [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3), [v] "=&r"(v), [a] "=&r"(a), [b] "=&r"(b)
                     : [pairs] "r"(depth / 2)
                     : "memory");
    /* clang-format on */
}

/* Four finished sums of a row. They began with +0, so none is -0. */
static void mct_nt_finish4(mct_elem *y, float sum[4], const struct mct_finish *finish, uint32_t column) {
    if (finish->bias)
        for (uint32_t i = 0; i < 4; i++)
            sum[i] += finish->bias[column + i];
    if (__builtin_expect(finish->activation == MCT_CLIP, 0))
        for (uint32_t i = 0; i < 4; i++)
            sum[i] = mct_activate(sum[i], MCT_CLIP, finish->lo, finish->hi);
    mct_narrow4(y, sum, finish->activation == MCT_RELU);
}

/* y[rows][columns] = x[rows][depth] . w[columns][depth], all in L1; rows <= 4. */
static void mct_nt_rows(mct_elem *y, const mct_elem *x, const mct_elem *w, uint32_t rows, uint32_t columns,
                        uint32_t depth, const struct mct_finish *finish) {
    uint32_t c = 0;
    const int32_t step = (int32_t)(depth * sizeof(mct_elem));
    if (rows == MCT_NT_ROWS && columns >= 4 && mct_rows_can(finish)) {
        mct_elem *const to[MCT_NT_ROWS] = {y, y + columns, y + 2 * columns, y + 3 * columns};
        c = columns & ~3u;
        mct_rows_4x4(to, x, depth, w, depth, depth / 2, c / 4, finish->bias, finish->activation == MCT_RELU);
    }
    for (; c + 4 <= columns; c += 4) {
        if (rows == MCT_NT_ROWS) {
            float sum[16] = {0};
            mct_x_nt_4x4(sum, x, step, w + c * depth, step, depth / 2);
            for (uint32_t r = 0; r < MCT_NT_ROWS; r++)
                mct_nt_finish4(y + r * columns + c, sum + 4 * r, finish, c);
            continue;
        }
        for (uint32_t r = 0; r < rows; r++) {
            float sum[4] = {0};
            mct_nt_1x4(sum, x + r * depth, w + c * depth, depth, depth);
            mct_nt_finish4(y + r * columns + c, sum, finish, c);
        }
    }
    for (; c < columns; c++)
        for (uint32_t r = 0; r < rows; r++)
            mct_nt_one(y + r * columns + c, x + r * depth, w + c * depth, depth, finish, c);
}

#endif
