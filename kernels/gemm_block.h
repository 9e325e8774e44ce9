/* Register blocks of a matrix product over a contiguous reduction (NT form).
 *
 * mct_block_RxC: acc[r*C + c] continues with sum_k a[r*a_stride + k] * b[c*b_stride + k].
 * R and C are constants, so the loops over them unroll and acc stays in
 * registers; the odd end of the reduction is taken after the inner loop.
 */
#ifndef MCT_GEMM_BLOCK_H
#define MCT_GEMM_BLOCK_H

#include "fast_memory.h"
#include "simd/simd.h"

#define MCT_BLOCK(R, C)                                                                                      \
    MCT_INLINE void mct_block_##R##x##C(float *restrict acc, const mct_elem *restrict a, uint32_t a_stride,  \
                                        const mct_elem *restrict b, uint32_t b_stride, uint32_t n) {         \
        float sum[(R) * (C)];                                                                                \
        mct_pair x[R], y[C];                                                                                 \
        for (uint32_t i = 0; i < (R) * (C); i++)                                                             \
            sum[i] = acc[i];                                                                                 \
        uint32_t k = 0;                                                                                      \
        if ((R) * (C) == 16 && n >= 2 && mct_sum_4x4(sum, a, a_stride, b, b_stride, n / 2))                  \
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

/* A block of finished sums. They began with +0, so none is -0. */
MCT_INLINE void mct_finish_4x4(mct_elem *const y[4], float *sum, const struct mct_finish *finish,
                               uint32_t column) {
    if (finish->bias)
        for (uint32_t i = 0; i < 16; i++)
            sum[i] += finish->bias[column + i % 4];
    if (__builtin_expect(finish->activation == MCT_CLIP, 0))
        for (uint32_t i = 0; i < 16; i++)
            sum[i] = mct_activate(sum[i], MCT_CLIP, finish->lo, finish->hi);
    for (uint32_t r = 0; r < 4; r++)
        mct_narrow4(y[r] + column, sum + 4 * r, finish->activation == MCT_RELU);
}

/* Elements [first, first + count) of a row of b. */
struct mct_run {
    uint32_t first, count;
};

/* The right side of a product: rows of b, of which the runs meet the rows of a, one after the other. */
struct mct_right {
    const mct_elem *b;
    uint32_t stride;
    const struct mct_run *runs;
    uint32_t run_count;
};

/* Part of a product: columns [column, column + 4) and elements [from, ...) of a run. */
struct mct_part {
    uint32_t column, run, from;
};

MCT_INLINE void mct_part_next(struct mct_part *part, const struct mct_right *right, uint32_t step) {
    part->from += step;
    if (part->from < right->runs[part->run].count)
        return;
    part->from = 0;
    if (++part->run < right->run_count)
        return;
    part->run = 0;
    part->column += 4;
}

MCT_INLINE uint32_t mct_part_length(const struct mct_part *part, const struct mct_right *right,
                                    uint32_t step) {
    return mct_min(step, right->runs[part->run].count - part->from);
}

MCT_INLINE uint32_t mct_part_fetch(mct_elem *to, const struct mct_part *part, const struct mct_right *right,
                                   uint32_t step) {
    uint32_t ticket = mct_dma_begin();
    mct_dma_in_rows(to, right->b + part->column * right->stride + right->runs[part->run].first + part->from,
                    4, mct_part_length(part, right, step) * sizeof(mct_elem),
                    right->stride * sizeof(mct_elem));
    return ticket;
}

/* Least elements of a part: the copies of shorter ones take longer than their use. */
enum { MCT_PART_LEAST = 32 };

/* Four rows and the whole blocks of four columns in [first, last); while one part of b is used, the next
 * is copied to fast memory. Returns the first column that is left. */
MCT_INLINE uint32_t mct_rows_nt_fast(mct_elem *const y[4], const mct_elem *a, uint32_t a_stride,
                                     const struct mct_right *right, uint32_t first, uint32_t last,
                                     const struct mct_finish *finish, const struct mct_fast *fast) {
    uint32_t step = fast->bytes / (8 * sizeof(mct_elem)) & ~1u;
    mct_elem *half[2] = {(mct_elem *)(void *)fast->memory, (mct_elem *)(void *)fast->memory + 4 * step};
    struct mct_part part = {first, 0, 0}, next;
    uint32_t ticket = mct_part_fetch(half[0], &part, right, step), which = 0;
    const mct_elem *at = a;
    float sum[16] = {0};
    while (part.column + 4 <= last) {
        next = part;
        mct_part_next(&next, right, step);
        mct_dma_wait(ticket);
        if (next.column + 4 <= last)
            ticket = mct_part_fetch(half[which ^ 1], &next, right, step);
        uint32_t length = mct_part_length(&part, right, step);
        mct_block_4x4(sum, at, a_stride, half[which], length, length);
        at += length;
        if (next.column != part.column) {
            mct_finish_4x4(y, sum, finish, part.column);
            for (uint32_t i = 0; i < 16; i++)
                sum[i] = 0;
            at = a;
        }
        which ^= 1;
        part = next;
    }
    return part.column;
}

#define MCT_OVER_RUNS(R, C, sum, a, a_stride)                                                                \
    for (uint32_t run = 0, at = 0; run < right->run_count; at += right->runs[run++].count)                   \
        mct_block_##R##x##C(sum, (a) + at, a_stride, right->b + c * right->stride + right->runs[run].first,  \
                            right->stride, right->runs[run].count);

/* y[r][c] = finish(sum over the runs of a[r] * b[c]) for r < rows, c in [first, last); rows <= 4.
 *
 * Four rows share each load of b; fewer rows go one at a time. */
MCT_INLINE void mct_rows_nt(mct_elem *const y[4], const mct_elem *a, uint32_t a_stride, uint32_t rows,
                            const struct mct_right *right, uint32_t first, uint32_t last,
                            const struct mct_finish *finish, const struct mct_fast *fast) {
    uint32_t c = first;
    if (rows == 4) {
        if (MCT_HAS_FAST && MCT_ELEM == 16 && fast->bytes >= 8 * MCT_PART_LEAST * sizeof(mct_elem) &&
            c + 4 <= last && right->run_count)
            c = mct_rows_nt_fast(y, a, a_stride, right, first, last, finish, fast);
        for (; c + 4 <= last; c += 4) {
            float sum[16] = {0};
            MCT_OVER_RUNS(4, 4, sum, a, a_stride)
            mct_finish_4x4(y, sum, finish, c);
        }
        for (; c < last; c++) {
            float sum[4] = {0};
            MCT_OVER_RUNS(4, 1, sum, a, a_stride)
            for (uint32_t r = 0; r < 4; r++)
                y[r][c] = mct_finished(sum[r], finish, c);
        }
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (c = first; c + 4 <= last; c += 4) {
            float sum[4] = {0};
            MCT_OVER_RUNS(1, 4, sum, a + r * a_stride, a_stride)
            for (uint32_t i = 0; i < 4; i++)
                y[r][c + i] = mct_finished(sum[i], finish, c + i);
        }
        for (; c < last; c++) {
            float sum[1] = {0};
            MCT_OVER_RUNS(1, 1, sum, a + r * a_stride, a_stride)
            y[r][c] = mct_finished(sum[0], finish, c);
        }
    }
}

#endif
