/* Matrix products over the rows of the right side (NN form), of which pairs were made, over operands in L1.
 */
#ifndef MCT_TILED_PRODUCT_NN_H
#define MCT_TILED_PRODUCT_NN_H

#include "simd/blocks_xpulp.h"
#include "simd/rows_xpulp.h"
#include "tiled/l1.h"

enum { MCT_NN_ROWS = 4 };

/* sum[c] = x . column c of four columns of w, which is from mct_x_pair_fours and has `pitch` of them, over
 * an even depth > 0 */
static void mct_nn_1x4(float sum[4], const mct_elem *x, const mct_elem *w, uint32_t pitch, uint32_t depth) {
    const int32_t down = (int32_t)(pitch * sizeof(mct_elem)) - 4;
    uint32_t v, a, b;
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".insn i 0x7b, 4, x0, %[pairs], 18\n\t" /* lp.setup: the next nine, pairs times */
                     MCT_X_LOAD4("a", "w") MCT_X_LOAD4("v", "x") MCT_X_LOAD("b", "w", "down")
                         MCT_X_DOT("0", "v", "a") MCT_X_LOAD4("a", "w") MCT_X_DOT("1", "v", "b")
                             MCT_X_LOAD("b", "w", "down") MCT_X_DOT("2", "v", "a")
                                 MCT_X_DOT("3", "v", "b") ".option pop"
                     : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]),
                       "+r"(sum[3]), [x] "+r"(x), [w] "+r"(w), [v] "=&r"(v), [a] "=&r"(a), [b] "=&r"(b)
                     : [pairs] "r"(depth / 2), [down] "r"(down)
                     : "memory");
}

/* y[rows][columns] = x[rows][depth] . w, of whose `pitch` columns they are the first; rows <= 4, columns and
 * pitch are multiples of four. */
static void mct_nn_rows(mct_elem *y, const mct_elem *x, const mct_elem *w, uint32_t pitch, uint32_t rows,
                        uint32_t columns, uint32_t depth) {
    if (rows == MCT_NN_ROWS) {
        mct_elem *const to[MCT_NN_ROWS] = {y, y + columns, y + 2 * columns, y + 3 * columns};
        mct_rows_paired_4x4(to, x, depth, w, pitch, depth / 2, columns / 4);
        return;
    }
    for (uint32_t r = 0; r < rows; r++, x += depth, y += columns)
        for (uint32_t c = 0; c < columns; c += 4) {
            float sum[4];
            mct_nn_1x4(sum, x, w + c, pitch, depth);
            mct_narrow4(y + c, sum, false);
        }
}

#endif
