/* Matrix product, NN form, through L1: a variant for binary16, an even reduction and columns in fours. Other
 * shapes take the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(dense_input_gradient)
#include "../dense_input_gradient.c"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "tiled/few_rows.h"

static __attribute__((noinline)) void many_rows(const struct mct_product *p, uint32_t column,
                                                uint32_t columns, uint32_t worker, uint32_t workers) {
    mct_many_rows(p, true, column, columns, worker, workers);
}

enum { DEEP = 32 };

/* sum[c] continues with x . column c of w for four columns, over `pairs` > 0 pairs of rows, which are
 * `columns` long. Loads stand apart; two words behind the last are read. */
static void few_columns(float sum[4], const mct_elem *x, const mct_elem *w, uint32_t columns,
                        uint32_t pairs) {
    const mct_elem *next = w + columns;
    uint32_t v, a, b, c, d, t;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        MCT_X_LOAD4("a", "w") MCT_X_LOAD4("b", "next")
        ".insn i 0x7b, 4, x0, %[pairs], 26\n\t" /* lp.setup: the next 13 instructions */
        MCT_X_PACK("t", "b", "a")
        MCT_X_LOAD4("v", "x")
        MCT_X_HIGH("a", "b")
        MCT_X_LOAD("c", "w", "down")
        MCT_X_DOT("0", "v", "t")
        MCT_X_LOAD("d", "next", "down")
        MCT_X_DOT("1", "v", "a")
        MCT_X_PACK("t", "d", "c")
        MCT_X_LOAD4("a", "w")
        MCT_X_HIGH("c", "d")
        MCT_X_LOAD4("b", "next")
        MCT_X_DOT("2", "v", "t")
        MCT_X_DOT("3", "v", "c")
        ".option pop"
        : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]), [x] "+r"(x), [w] "+r"(w), [next] "+r"(next),
          [v] "=&r"(v), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t)
        : [pairs] "r"(pairs), [down] "r"((int32_t)(2 * columns * sizeof(mct_elem)) - 4),
          [select] "r"(0x00030001u)
        : "memory");
    /* clang-format on */
}

/* A worker's room when rows are few: its sums, and twice as many rows of its columns of w as fit. */
struct own {
    uint32_t room, deep; /* rows of a part, an even number; 0: it does not fit */
};

static struct own own_of(const struct mct_dense_input_gradient *d, uint32_t workers) {
    const uint32_t x = mct_turn_bytes(d->rows * d->depth * sizeof(mct_elem)), left = mct_l1_all().left;
    const uint32_t columns = 4 * mct_ceil_div(d->columns / 4, workers),
                   sums = d->rows * columns * sizeof(float);
    struct own own = {.room = x < left ? (left - x) / workers / 16 * 16 : 0};
    if (columns && sums < own.room)
        own.deep = mct_min(DEEP, (own.room - sums) / (2 * columns * sizeof(mct_elem))) & ~1u;
    return own;
}

static __attribute__((noinline)) void few_rows(const struct mct_product *p, struct own own, uint32_t worker,
                                               uint32_t workers) {
    struct mct_few few = mct_few_begin(p, own.room, worker);
    uint32_t first, last;
    mct_split(p->columns / 4, worker, workers, &first, &last);
    const uint32_t columns = 4 * (last - first), row = columns * sizeof(mct_elem);
    const uint32_t stride = p->columns * sizeof(mct_elem), depth = columns ? p->depth : 0;
    const mct_elem *from = p->w + 4 * first;
    float *sums = (float *)(void *)few.own;
    few.w[0] = (mct_elem *)(void *)(sums + p->rows * columns);
    few.w[1] = few.w[0] + own.deep * columns;
    if (columns)
        mct_dma_in_rows(few.w[0], from, mct_min(own.deep, depth), row, stride);
    for (uint32_t i = 0; i < p->rows * columns; i++)
        sums[i] = 0;
    mct_barrier(); /* x is here */
    for (uint32_t k = 0; k < depth; k += own.deep) {
        const uint32_t here = mct_min(own.deep, depth - k);
        mct_few_turn(&few);
        if (k + here < depth)
            mct_dma_in_rows(few.w[0], from + (k + here) * p->columns, mct_min(own.deep, depth - k - here),
                            row, stride);
        for (uint32_t r = 0; r < p->rows; r++)
            for (uint32_t c = 0; c < columns; c += 4)
                few_columns(sums + r * columns + c, few.x + r * p->depth + k, few.w[1] + c, columns,
                            here / 2);
    }
    mct_dma_wait(few.group);
    if (columns == 0)
        return;
    mct_elem *y = (mct_elem *)(void *)sums; /* in their place: each lies before what is still to come */
    for (uint32_t i = 0; i < p->rows * columns; i += 4)
        mct_narrow4(y + i, sums + i, false);
    const uint32_t group = mct_dma_begin();
    mct_dma_out_rows(p->y + 4 * first, y, p->rows, row, stride);
    mct_dma_wait(group);
}

void MCT_TILED(dense_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_input_gradient *d = args;
    const bool many = d->rows >= MCT_NT_ROWS;
    const struct own own = many ? (struct own){0} : own_of(d, workers);
    const uint32_t tile = many ? mct_many_columns(d->columns, d->depth, d->tile_columns) : d->columns;
    if (d->depth % 2 || d->depth == 0 || d->depth > 2048 || d->columns % 4 || tile % 4 || tile == 0 ||
        !(many || own.deep)) {
        mct_any_shape_dense_input_gradient(args, worker, workers);
        return;
    }
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        const struct mct_product p = {.x = (const mct_elem *)d->dy + batch * d->rows * d->depth,
                                      .w = (const mct_elem *)d->w + batch * d->columns * d->depth,
                                      .y = (mct_elem *)d->dx + batch * d->rows * d->columns,
                                      .rows = d->rows,
                                      .columns = d->columns,
                                      .depth = d->depth};
        for (uint32_t column = 0; column < d->columns; column += tile) {
            if (batch || column)
                mct_barrier();
            if (many)
                many_rows(&p, column, mct_min(tile, d->columns - column), worker, workers);
            else
                few_rows(&p, own, worker, workers);
        }
    }
}
#else
void MCT_TILED(dense_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    mct_any_shape_dense_input_gradient(args, worker, workers);
}
#endif
