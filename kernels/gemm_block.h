/* Register blocks of a matrix product over a contiguous reduction (NT form).
 *
 * mct_block_RxC: acc[r*C + c] continues with sum_k a[r*a_stride + k] * b[c*b_stride + k].
 * R and C are constants, so the loops over them unroll and acc stays in
 * registers; the odd end of the reduction is taken after the inner loop.
 */
#ifndef MCT_GEMM_BLOCK_H
#define MCT_GEMM_BLOCK_H

#include "simd/simd.h"

#define MCT_BLOCK(R, C)                                                                                      \
    MCT_INLINE void mct_block_##R##x##C(float *restrict acc, const mct_elem *restrict a, uint32_t a_stride,  \
                                        const mct_elem *restrict b, uint32_t b_stride, uint32_t n) {         \
        float sum[(R) * (C)];                                                                                \
        mct_pair x[R], y[C];                                                                                 \
        for (uint32_t i = 0; i < (R) * (C); i++)                                                             \
            sum[i] = acc[i];                                                                                 \
        uint32_t k = 0;                                                                                      \
        if ((R) * (C) == 16 && a_stride == b_stride && n >= 2 && mct_sum_4x4(sum, a, b, a_stride, n / 2))    \
            k = n & ~1u;                                                                                     \
        for (; k + 2 <= n; k += 2) {                                                                         \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                x[r] = mct_load(a + r * a_stride + k);                                                       \
            for (uint32_t c = 0; c < (C); c++)                                                               \
                y[c] = mct_load(b + c * b_stride + k);                                                       \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                for (uint32_t c = 0; c < (C); c++)                                                           \
                    sum[r * (C) + c] = mct_dot(sum[r * (C) + c], x[r], y[c]);                                \
        }                                                                                                    \
        if (k < n) {                                                                                         \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                x[r] = mct_load_low(a + r * a_stride + k);                                                   \
            for (uint32_t c = 0; c < (C); c++)                                                               \
                y[c] = mct_load_low(b + c * b_stride + k);                                                   \
            for (uint32_t r = 0; r < (R); r++)                                                               \
                for (uint32_t c = 0; c < (C); c++)                                                           \
                    sum[r * (C) + c] = mct_dot_low(sum[r * (C) + c], x[r], y[c]);                            \
        }                                                                                                    \
        for (uint32_t i = 0; i < (R) * (C); i++)                                                             \
            acc[i] = sum[i];                                                                                 \
    }

MCT_BLOCK(4, 4)
MCT_BLOCK(4, 1)
MCT_BLOCK(1, 4)
MCT_BLOCK(1, 1)

/* What happens to a finished sum: bias (null: none), activation, one rounding. */
struct mct_finish {
    const float *bias;
    uint32_t activation;
    float lo, hi;
};

MCT_INLINE mct_elem mct_finished(float sum, const struct mct_finish *finish, uint32_t column) {
    float v = sum + (finish->bias ? finish->bias[column] : 0.0f);
    return mct_narrow(mct_activate(v, finish->activation, finish->lo, finish->hi));
}

/* A whole block of finished sums. They began with +0, so none is -0. */
MCT_INLINE void mct_finish_4x4(mct_elem *y, uint32_t y_stride, float *sum, const struct mct_finish *finish,
                               uint32_t column) {
    if (finish->bias)
        for (uint32_t i = 0; i < 16; i++)
            sum[i] += finish->bias[column + i % 4];
    if (__builtin_expect(finish->activation == MCT_CLIP, 0))
        for (uint32_t i = 0; i < 16; i++)
            sum[i] = mct_activate(sum[i], MCT_CLIP, finish->lo, finish->hi);
    for (uint32_t r = 0; r < 4; r++, y += y_stride)
        mct_narrow4(y, sum + 4 * r, finish->activation == MCT_RELU);
}

/* y[r*y_stride + c] = finish(sum_k a[r][k] * b[c][k]) for r < rows, c in [first, last); rows <= 4.
 *
 * Four rows share each load of b; fewer rows go one at a time. */
MCT_INLINE void mct_rows_nt(mct_elem *y, uint32_t y_stride, const mct_elem *a, uint32_t a_stride,
                            uint32_t rows, const mct_elem *b, uint32_t n, uint32_t first, uint32_t last,
                            const struct mct_finish *finish) {
    uint32_t c = first;
    if (rows == 4) {
        for (; c + 4 <= last; c += 4) {
            float acc[16] = {0};
            mct_block_4x4(acc, a, a_stride, b + c * n, n, n);
            mct_finish_4x4(y + c, y_stride, acc, finish, c);
        }
        for (; c < last; c++) {
            float acc[4] = {0};
            mct_block_4x1(acc, a, a_stride, b + c * n, n, n);
            for (uint32_t r = 0; r < 4; r++)
                y[r * y_stride + c] = mct_finished(acc[r], finish, c);
        }
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (c = first; c + 4 <= last; c += 4) {
            float acc[4] = {0};
            mct_block_1x4(acc, a + r * a_stride, a_stride, b + c * n, n, n);
            for (uint32_t i = 0; i < 4; i++)
                y[r * y_stride + c + i] = mct_finished(acc[i], finish, c + i);
        }
        for (; c < last; c++) {
            float acc[1] = {0};
            mct_block_1x1(acc, a + r * a_stride, a_stride, b + c * n, n, n);
            y[r * y_stride + c] = mct_finished(acc[0], finish, c);
        }
    }
}

#endif
