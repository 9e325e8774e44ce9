/* A dense layer on one row through L1: while the workers share out the rows of a tile of w, DMA brings the
 * next.. L1 holds x, then the tiles. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_rounded)
#include "../dense_rounded.c"
#include "simd/assembly_xpulp.h"
#include "tiled/row_tiles.h"

/* Rows of a tile: one or two for each worker. */
enum { LEAST = 8, MOST = 16 };

/* clang-format off */
/* `steps`, of as many instructions as `count` says, for each pair; `low` has the first element of w. Between
 * loads there is something else: one that follows another takes two cycles. The word after a row's end is
 * read. */
#define PAIRS(count, steps)                                                                                  \
    ".option push\n\t.option norvc\n\t"                                                                      \
    MCT_X_LOAD4("low", "w")                                                                                  \
    ".insn i 0x7b, 4, x0, %[pairs], 2*" count "\n\t" /* lp.setup */                                          \
    steps ".option pop"

/* Continues x . row of w with `pairs` > 0 pairs. */
static float one_row(float sum, const mct_elem *x, const float *w, uint32_t pairs) {
    float low, high;
    uint32_t v = 0, u = 0;
    __asm__ volatile(
        PAIRS("5",
            MCT_X_LOAD4("high", "w")
            MCT_X_DOT("[sum]", "v", "u")
            MCT_X_LOAD4("v", "x")
            MCT_X_NARROW("u", "low", "high")
            MCT_X_LOAD4("low", "w"))
        : [sum] "+r"(sum), [x] "+r"(x), [w] "+r"(w), [v] "+r"(v), [u] "+r"(u), [low] "=&r"(low),
          [high] "=&r"(high)
        : [pairs] "r"(pairs)
        : "memory");
    return mct_xpulp_dot(sum, v, u);
}

/* The same for two rows. */
static void two_rows(float sum[2], const mct_elem *x, const float *w, const float *next, uint32_t pairs) {
    float low, high, low1, high1;
    uint32_t v = 0, u, u1 = 0;
    __asm__ volatile(
        PAIRS("9",
            MCT_X_LOAD4("high", "w")
            MCT_X_DOT("[t]", "v", "u1")
            MCT_X_LOAD4("v", "x")
            MCT_X_NARROW("u", "low", "high")
            MCT_X_LOAD4("low1", "next")
            MCT_X_DOT("[s]", "v", "u")
            MCT_X_LOAD4("high1", "next")
            MCT_X_LOAD4("low", "w")
            MCT_X_NARROW("u1", "low1", "high1"))
        : [s] "+r"(sum[0]), [t] "+r"(sum[1]), [x] "+r"(x), [w] "+r"(w), [next] "+r"(next), [v] "+r"(v),
          [u] "=&r"(u), [u1] "+r"(u1), [low] "=&r"(low), [high] "=&r"(high), [low1] "=&r"(low1),
          [high1] "=&r"(high1)
        : [pairs] "r"(pairs)
        : "memory");
    sum[1] = mct_xpulp_dot(sum[1], v, u1);
}
/* clang-format on */
#undef PAIRS

void MCT_TILED(dense_rounded)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_rounded *d = args;
    struct mct_l1 room = mct_l1_all();
    mct_elem *x = mct_l1_take(&room, d->depth * sizeof(mct_elem)), *y = d->y;
    struct mct_row_tiles tiles = {.memory = (const uint8_t *)d->w,
                                  .rows = d->columns,
                                  .row = d->depth * sizeof(float),
                                  .most = MOST,
                                  .last = MOST};
    if (d->depth % 2 || d->depth == 0 || d->columns == 0 || !x || !mct_row_tiles_plan(&tiles, room, LEAST)) {
        mct_any_shape_dense_rounded(args, worker, workers);
        return;
    }
    struct mct_row_tile now = mct_row_tiles_first(&tiles), next = now;
    bool more = true;
    for (uint32_t i = 0; worker == 0 && more && i < tiles.places - 1; i++) {
        tiles.groups[i] = mct_dma_begin();
        if (i == 0)
            mct_dma_in(x, d->x, d->depth * sizeof(mct_elem));
        mct_row_tiles_bring(&tiles, &next);
        more = mct_row_tiles_on(&tiles, &next);
    }
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    const uint32_t width = tiles.width / sizeof(float);
    float sums[MOST];
    do {
        mct_row_tiles_turn(&tiles, &now, &next, &more, worker);
        uint32_t r, last;
        mct_split(now.rows, worker, workers, &r, &last);
        const float *w = mct_row_tiles_place(&tiles, &now) + r * width;
        const mct_elem *part = x + now.part * width;
        for (float *sum = sums; r < last; r += 2, w += 2 * width, sum += 2) {
            const uint32_t rows = mct_min(last - r, 2);
            if (now.part == 0)
                sum[0] = sum[1] = 0;
            if (rows == 2)
                two_rows(sum, part, w, w + width, width / 2);
            else
                sum[0] = one_row(sum[0], part, w, width / 2);
            for (uint32_t i = 0; now.part == tiles.parts - 1 && i < rows; i++)
                y[now.row + r + i] = mct_finished(sum[i], &finish, now.row + r + i);
        }
    } while (mct_row_tiles_on(&tiles, &now));
}
#else
#include "../dense_rounded.c"
#endif
