/* A dense layer on one row through L1: tiles of whole rows of w, while DMA brings the next.
 *
 * L1 holds x, then two or three tiles. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense_rounded)
#include "../dense_rounded.c"
#include "tiled/l1.h"

/* Bytes of a tile at least, so that its transfer is worth the start of one; in a large matrix twice as many.
 * While one is used, others are on their way, two if there is room, so that DMA does not rest. */
enum { LEAST = 4096, LARGE = 32 * LEAST, ROWS = 8, TILES = 3 };

/* x . row of w, of `pairs` > 0 pairs */
static float one_row(const mct_elem *x, const float *w, uint32_t pairs) {
    float sum = 0, low, high;
    uint32_t v, u;
#define NEXT(to, from) ".insn i 0x0b, 2, %[" to "], 4(%[" from "])\n\t"
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x0, %[pairs], 10\n\t" /* lp.setup: the next 5 instructions */
        NEXT("low", "w")
        NEXT("high", "w")
        NEXT("v", "x")
        ".insn r 0x33, 2, 0x58, %[u], %[low], %[high]\n\t" /* vfcpka.h.s */
        MCT_XPULP_DOT("%[sum]", "%[v]", "%[u]")
        ".option pop"
        : [sum] "+r"(sum), [x] "+r"(x), [w] "+r"(w), [v] "=&r"(v), [u] "=&r"(u), [low] "=&r"(low),
          [high] "=&r"(high)
        : [pairs] "r"(pairs)
        : "memory");
    /* clang-format on */
#undef NEXT
    return sum;
}

void MCT_TILED(dense_rounded)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_rounded copy = *(const struct mct_dense_rounded *)args, *d = &copy;
    const uint32_t row = d->depth * sizeof(float);
    const uint32_t least = d->columns * row < LARGE ? LEAST : 2 * LEAST;
    const uint32_t rows = row ? (least / (ROWS * row) + (least < ROWS * row)) * ROWS : 0;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    struct mct_l1 room = mct_l1_all();
    mct_elem *x = mct_l1_take(&room, d->depth * sizeof(mct_elem)), *y = d->y;
    float *w[TILES];
    uint32_t places = 0;
    while (places < TILES && (w[places] = mct_l1_take(&room, rows * row)))
        places++;
    if (d->depth % 2 || d->depth == 0 || !x || places < 2) {
        mct_any_shape_dense_rounded(args, worker, workers);
        return;
    }
    uint32_t groups[TILES] = {0};
    if (worker == 0)
        for (uint32_t tile = 0; tile < places - 1 && tile * rows < d->columns; tile++) {
            groups[tile] = mct_dma_begin();
            if (tile == 0)
                mct_l1_in(x, d->x, d->depth * sizeof(mct_elem));
            mct_l1_in(w[tile], d->w + tile * rows * d->depth, mct_min(rows, d->columns - tile * rows) * row);
        }
    uint32_t at = 0, free = places - 1; /* places of this tile and of the one before */
    for (uint32_t column = 0; column < d->columns; column += rows) {
        if (worker == 0)
            mct_dma_wait(groups[at]);
        mct_barrier();
        const uint32_t next = column + (places - 1) * rows;
        if (worker == 0 && next < d->columns) {
            groups[free] = mct_dma_begin();
            mct_l1_in(w[free], d->w + next * d->depth, mct_min(rows, d->columns - next) * row);
        }
        uint32_t r, last;
        mct_split(mct_min(rows, d->columns - column), worker, workers, &r, &last);
        const float *from = w[at] + r * d->depth;
        for (; r < last; r++, from += d->depth)
            y[column + r] = mct_finished(one_row(x, from, d->depth / 2), &finish, column + r);
        free = at;
        at = at == places - 1 ? 0 : at + 1;
    }
}
#else
#include "../dense_rounded.c"
#endif
