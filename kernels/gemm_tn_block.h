/* Register blocks of a matrix product that reduces over rows (TN form).
 *
 * mct_block_tn_RxC: acc[r*acc_stride + c] continues with
 * sum_m a[m*a_stride + r] * b[m*b_stride + c], pairs of rows (0,1), (2,3) ...;
 * the odd last row is taken after the inner loop.  acc is read and written in
 * binary32, so cutting the reduction at an even row changes no bit.
 */
#ifndef MCT_GEMM_TN_BLOCK_H
#define MCT_GEMM_TN_BLOCK_H

#include "squares.h"

#define MCT_BLOCK_TN(R, C)                                                                                   \
    MCT_INLINE void mct_block_tn_##R##x##C(float *restrict acc, uint32_t acc_stride,                         \
                                           const mct_elem *restrict a, uint32_t a_stride,                    \
                                           const mct_elem *restrict b, uint32_t b_stride, uint32_t n) {      \
        float sum[(R) * (C)];                                                                                \
        mct_pair x[R], y[C];                                                                                 \
        for (uint32_t r = 0; r < (R); r++)                                                                   \
            for (uint32_t c = 0; c < (C); c++)                                                               \
                sum[r * (C) + c] = acc[r * acc_stride + c];                                                  \
        uint32_t m = 0;                                                                                      \
        if ((R) * (C) == 16 && n >= 2 && mct_sum_tn_4x4(sum, a, a_stride, b, b_stride, n / 2)) {             \
            m = n & ~1u;                                                                                     \
            a += m * a_stride;                                                                               \
            b += m * b_stride;                                                                               \
        }                                                                                                    \
        for (; m + 2 <= n; m += 2) {                                                                         \
            if ((R) == 4)                                                                                    \
                mct_join4(x, a, a + a_stride);                                                               \
            else                                                                                             \
                x[0] = mct_join(a, a + a_stride);                                                            \
            if ((C) == 4)                                                                                    \
                mct_join4(y, b, b + b_stride);                                                               \
            else                                                                                             \
                y[0] = mct_join(b, b + b_stride);                                                            \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                for (uint32_t c = 0; c < (C); c++)                                                           \
                    sum[r * (C) + c] = mct_dot(sum[r * (C) + c], x[r], y[c]);                                \
            a += 2 * a_stride;                                                                               \
            b += 2 * b_stride;                                                                               \
        }                                                                                                    \
        if (m < n) {                                                                                         \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                x[r] = mct_load_low(a + r);                                                                  \
            for (uint32_t c = 0; c < (C); c++)                                                               \
                y[c] = mct_load_low(b + c);                                                                  \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                for (uint32_t c = 0; c < (C); c++)                                                           \
                    sum[r * (C) + c] = mct_dot_low(sum[r * (C) + c], x[r], y[c]);                            \
        }                                                                                                    \
        for (uint32_t r = 0; r < (R); r++)                                                                   \
            for (uint32_t c = 0; c < (C); c++)                                                               \
                acc[r * acc_stride + c] = mct_canonical(sum[r * (C) + c]);                                   \
    }

MCT_BLOCK_TN(4, 4)
MCT_BLOCK_TN(4, 1)
MCT_BLOCK_TN(1, 4)
MCT_BLOCK_TN(1, 1)

/* The same for rows x columns outputs of any size, in blocks of four by four. */
MCT_INLINE void mct_rows_tn(float *acc, uint32_t acc_stride, uint32_t rows, uint32_t columns,
                            const mct_elem *a, uint32_t a_stride, const mct_elem *b, uint32_t b_stride,
                            uint32_t n) {
    uint32_t r = 0;
    for (; r + 4 <= rows; r += 4, acc += 4 * acc_stride) {
        uint32_t c = 0;
        for (; c + 4 <= columns; c += 4)
            mct_block_tn_4x4(acc + c, acc_stride, a + r, a_stride, b + c, b_stride, n);
        for (; c < columns; c++)
            mct_block_tn_4x1(acc + c, acc_stride, a + r, a_stride, b + c, b_stride, n);
    }
    for (; r < rows; r++, acc += acc_stride) {
        uint32_t c = 0;
        for (; c + 4 <= columns; c += 4)
            mct_block_tn_1x4(acc + c, acc_stride, a + r, a_stride, b + c, b_stride, n);
        for (; c < columns; c++)
            mct_block_tn_1x1(acc + c, acc_stride, a + r, a_stride, b + c, b_stride, n);
    }
}

/* What a block of products is summed in: acc itself; or for their squares `own`, [rows][columns] of zeros. */
struct mct_tn_sums {
    float *at;
    uint32_t stride;
};

MCT_INLINE struct mct_tn_sums mct_tn_sums_begin(float *acc, uint32_t stride, float *own, uint32_t rows,
                                                uint32_t columns, uint32_t squares) {
    if (!squares)
        return (struct mct_tn_sums){acc, stride};
    memset(own, 0, rows * columns * sizeof *own);
    return (struct mct_tn_sums){own, columns};
}

/* When the reduction is complete. */
MCT_INLINE void mct_tn_sums_end(struct mct_tn_sums sums, float *acc, uint32_t stride, uint32_t rows,
                                uint32_t columns) {
    if (sums.at != acc)
        mct_squares(acc, stride, sums.at, sums.stride, rows, columns);
}

#endif
