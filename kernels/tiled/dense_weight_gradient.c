/* Weight gradient of a dense layer, TN form, through L1: a variant for binary16 and sizes that are multiples
 * of four, or one row. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_weight_gradient)
#include "../dense_weight_gradient.c"
#include "tiled/product_tn.h"

/* In L1: the pieces of acc, MCT_TN_BYTES; for squares, where not all rows fit, the sums; then so many pairs
 * of rows of x as fit, and as many of dy. */

/* `rows` rows of x and dy are in L1 for all, as pairs of rows. */
static void some_rows(const struct mct_dense_weight_gradient *d, const struct mct_tn *t, struct mct_l1 room,
                      uint32_t batch, uint32_t row, uint32_t rows, uint32_t worker, uint32_t workers) {
    const uint32_t pairs = (rows + 1) / 2, at = batch * d->rows + row;
    const mct_elem *x_from = (const mct_elem *)d->x + at * d->depth;
    const mct_elem *dy_from = (const mct_elem *)d->dy + at * d->columns;
    mct_elem *x = mct_l1_take(&room, 2 * pairs * d->depth * sizeof(mct_elem));
    mct_elem *dy = mct_l1_take(&room, 2 * pairs * d->columns * sizeof(mct_elem));
    uint32_t first, last;
    mct_split(pairs, worker, workers, &first, &last);
    uint32_t group = mct_dma_begin();
    mct_tn_bring_rows(x, x_from, rows, d->depth, first, last);
    mct_dma_wait(group);
    group = mct_dma_begin();
    mct_tn_bring_rows(dy, dy_from, rows, d->columns, first, last);
    mct_tn_pair_rows(x, d->depth, first, last);
    mct_dma_wait(group);
    struct mct_tn_piece piece;
    group = mct_dma_begin();
    const struct mct_tn_share share = mct_tn_begin(t, worker, workers, &piece);
    mct_tn_pair_rows(dy, d->columns, first, last);
    mct_dma_wait(group);
    mct_barrier();
    if (d->squares)
        mct_tn_run_squares(t, share, piece, x, dy, pairs, row == 0, row + rows == d->rows);
    else
        mct_tn_run(t, share, piece, x, dy, pairs);
}

/* acc[i] += dy * x[i], a dot product of (dy, 0) and (x[i], 0), for 2 `pairs` > 0 elements. */
MCT_INLINE void add_product(float *acc, const mct_elem *x, uint32_t dy, uint32_t pairs) {
    uint32_t a, b;
    float s, t;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x0, %[pairs], 16\n\t" /* lp.setup: the next eight, pairs times */
        "lw %[s], 0(%[acc])\n\t"
        ".insn i 0x0b, 5, %[a], 2(%[x])\n\t" /* p.lhu */
        "lw %[t], 4(%[acc])\n\t"
        ".insn i 0x0b, 5, %[b], 2(%[x])\n\t"
        MCT_XPULP_DOT("%[s]", "%[a]", "%[dy]")
        ".insn s 0x2b, 2, %[s], 4(%[acc])\n\t" /* p.sw */
        MCT_XPULP_DOT("%[t]", "%[b]", "%[dy]")
        ".insn s 0x2b, 2, %[t], 4(%[acc])\n\t"
        ".option pop"
        : [acc] "+r"(acc), [x] "+r"(x), [a] "=&r"(a), [b] "=&r"(b), [s] "=&r"(s), [t] "=&r"(t)
        : [pairs] "r"(pairs), [dy] "r"(dy)
        : "memory");
    /* clang-format on */
}

/* acc[i] += the square of that product, for `count` elements. */
static __attribute__((noinline)) void add_square(float *restrict acc, const mct_elem *restrict x, uint32_t dy,
                                                 uint32_t count) {
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        acc[i] = mct_square(acc[i], mct_dot_low(0.0f, mct_load_low(x + i), dy));
}

/* A batch of one row: each worker has rows of acc, and x, to itself. False, at once: they do not fit. */
static MCT_SMALL __attribute__((noinline)) bool one_row(const struct mct_dense_weight_gradient *d,
                                                        uint32_t worker, uint32_t workers) {
    const struct mct_l1 l1 = mct_l1_all();
    const uint32_t depth = d->depth, line = (depth * sizeof(mct_elem) + 15) & ~15u;
    uint32_t first, last;
    mct_split(d->columns, worker, workers, &first, &last);
    const uint32_t room = line + (d->columns + workers - 1) / workers * depth * sizeof(float);
    if (room > (l1.left / workers & ~15u))
        return false;
    if (first == last || depth == 0)
        return true;
    mct_elem *x = (mct_elem *)(void *)(l1.at + worker * (l1.left / workers & ~15u));
    float *acc = (float *)(void *)((uint8_t *)x + line), *all = d->acc + first * depth;
    const uint32_t bytes = (last - first) * depth * sizeof(float), squares = d->squares;
    uint32_t group = mct_dma_begin();
    mct_dma_in(x, d->x, depth * sizeof(mct_elem));
    mct_dma_in(acc, all, bytes);
    mct_dma_wait(group);
    for (uint32_t r = 0; r < last - first; r++) {
        const uint32_t dy = mct_load_low((const mct_elem *)d->dy + first + r);
        if (squares)
            add_square(acc + r * depth, x, dy, depth);
        else
            add_product(acc + r * depth, x, dy, depth / 2);
    }
    group = mct_dma_begin();
    mct_dma_out(all, acc, bytes);
    mct_dma_wait(group);
    return true;
}

void MCT_TILED(dense_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_weight_gradient *d = args;
    if (d->batch == 1 && d->rows == 1 && d->depth % 2 == 0 && one_row(d, worker, workers))
        return;
    struct mct_l1 room = mct_l1_all();
    const uint32_t pair = 2 * (d->depth + d->columns) * sizeof(mct_elem);
    const uint32_t asked = mct_ceil_div(mct_min(d->tile_rows, d->rows), 2);
    uint8_t *pieces = mct_l1_take(&room, MCT_TN_BYTES);
    bool fits = d->depth % 4 == 0 && d->columns % MCT_TN_ROWS == 0 && pieces && room.left >= pair + 32 &&
                asked <= (room.left - 32) / pair;
    struct mct_tn t;
    uint32_t most = 0;
    if (fits) {
        t = mct_tn(d->acc, d->columns, d->depth, pieces);
        most = 2 * (asked ? asked : (room.left - 32) / pair);
    }
    if (fits && d->squares && most < d->rows) {
        t.kept = mct_l1_take(&room, mct_tn_kept(&t) * sizeof(float));
        fits = t.kept && room.left >= pair + 32 && asked <= (room.left - 32) / pair;
        most = asked ? most : 2 * ((room.left - 32) / pair);
    }
    if (!fits) {
        mct_any_shape_dense_weight_gradient(args, worker, workers);
        return;
    }
    for (uint32_t batch = 0; batch < d->batch; batch++, t.acc += d->columns * d->depth)
        for (uint32_t row = 0; row < d->rows; row += most) {
            if (batch || row)
                mct_barrier();
            some_rows(d, &t, room, batch, row, mct_min(most, d->rows - row), worker, workers);
        }
}
#else
#include "../dense_weight_gradient.c"
#endif
