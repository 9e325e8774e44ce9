/* Matrix product, NT form, through L1: a variant for binary16 and an even reduction. Other shapes take the
 * way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense)
#include "../dense.c"
#include "tiled/product_nt.h"

enum { WORKERS = 8, ROWS = MCT_NT_ROWS, CHUNK_DEPTH = 256 };

static uint32_t rounded(uint32_t bytes) {
    return (bytes + 15) / 16 * 16;
}

/* Two buffers of one worker, which take turns. */
struct turns {
    mct_elem *at[2];
};

static struct turns take_turns(struct mct_l1 *room, uint32_t bytes) {
    struct turns turns;
    for (uint32_t i = 0; i < 2; i++)
        turns.at[i] = mct_l1_take(room, bytes);
    return turns;
}

struct product {
    const struct mct_dense *d;
    const mct_elem *x, *w;
    mct_elem *y;
};

static void bring_rows(const struct product *p, mct_elem *to, uint32_t block) {
    const uint32_t row = block * ROWS, depth = p->d->depth;
    mct_l1_in(to, p->x + row * depth, mct_min(ROWS, p->d->rows - row) * depth * sizeof(mct_elem));
}

static void send_rows(const struct product *p, const mct_elem *from, uint32_t block, uint32_t column,
                      uint32_t columns) {
    const uint32_t row = block * ROWS;
    mct_dma_out_rows(p->y + row * p->d->columns + column, from, mct_min(ROWS, p->d->rows - row),
                     columns * sizeof(mct_elem), p->d->columns * sizeof(mct_elem));
}

/* The columns from `column` on, so many as are tiled: they and their bias are in L1 for all, and rows go
 * through it in fours, each worker's on their own. */
static void many_rows(const struct product *p, uint32_t column, uint32_t columns, uint32_t worker,
                      uint32_t workers) {
    const struct mct_dense *d = p->d;
    const uint32_t row = d->depth * sizeof(mct_elem);
    struct mct_l1 room = mct_l1_all();
    mct_elem *w = mct_l1_take(&room, columns * row);
    float *bias = mct_l1_take(&room, columns * sizeof(float));
    struct turns x, y;
    for (uint32_t i = 0; i <= worker; i++) {
        x = take_turns(&room, ROWS * row);
        y = take_turns(&room, ROWS * columns * sizeof(mct_elem));
    }
    const struct mct_finish finish = {d->bias ? bias : 0, d->activation, d->lo, d->hi};
    uint32_t first, last;
    mct_split(columns, worker, workers, &first, &last);
    uint32_t group = mct_dma_begin();
    mct_l1_in(w + first * d->depth, p->w + (column + first) * d->depth, (last - first) * row);
    if (d->bias && worker == 0)
        mct_l1_in(bias, d->bias + column, columns * sizeof(float));
    mct_split(mct_ceil_div(d->rows, ROWS), worker, workers, &first, &last);
    if (first < last)
        bring_rows(p, x.at[0], first);
    mct_dma_wait(group);
    mct_barrier();
    for (uint32_t block = first; block < last; block++) {
        const uint32_t now = (block - first) % 2;
        if (block > first)
            mct_dma_wait(group);
        group = mct_dma_begin();
        if (block + 1 < last)
            bring_rows(p, x.at[1 - now], block + 1);
        if (block > first)
            send_rows(p, y.at[1 - now], block - 1, column, columns);
        mct_nt_rows(y.at[now], x.at[now], w, mct_min(ROWS, d->rows - block * ROWS), columns, d->depth,
                    &finish);
    }
    if (first == last)
        return;
    send_rows(p, y.at[(last - 1 - first) % 2], last - 1, column, columns);
    mct_dma_wait(group);
}

static void bring_chunk(const struct product *p, mct_elem *to, uint32_t item, uint32_t chunk) {
    const uint32_t depth = p->d->depth, chunks = mct_ceil_div(depth, chunk);
    const uint32_t column = item / chunks * 4, k = item % chunks * chunk;
    mct_dma_in_rows(to, p->w + column * depth + k, mct_min(4, p->d->columns - column),
                    mct_min(chunk, depth - k) * sizeof(mct_elem), depth * sizeof(mct_elem));
}

/* x is in L1 for all; w goes through it, each worker's columns on their own. */
static void few_rows(const struct product *p, uint32_t worker, uint32_t workers) {
    const struct mct_dense *d = p->d;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    struct mct_l1 room = mct_l1_all();
    const uint32_t chunk = mct_min(d->depth, CHUNK_DEPTH), chunks = mct_ceil_div(d->depth, chunk);
    mct_elem *x = mct_l1_take(&room, d->rows * d->depth * sizeof(mct_elem));
    struct turns w;
    for (uint32_t i = 0; i <= worker; i++)
        w = take_turns(&room, 4 * chunk * sizeof(mct_elem));
    uint32_t first, last;
    mct_split(mct_ceil_div(d->columns, 4), worker, workers, &first, &last);
    first *= chunks;
    last *= chunks;
    uint32_t group = mct_dma_begin();
    if (worker == 0)
        mct_l1_in(x, p->x, d->rows * d->depth * sizeof(mct_elem));
    if (first < last)
        bring_chunk(p, w.at[0], first, chunk);
    mct_dma_wait(group);
    mct_barrier();
    float sum[ROWS * 4];
    for (uint32_t item = first; item < last; item++) {
        const uint32_t now = (item - first) % 2, column = item / chunks * 4, k = item % chunks * chunk;
        const uint32_t depth = mct_min(chunk, d->depth - k);
        if (item > first)
            mct_dma_wait(group);
        if (item + 1 < last) {
            group = mct_dma_begin();
            bring_chunk(p, w.at[1 - now], item + 1, chunk);
        }
        for (uint32_t r = 0; r < d->rows; r++) {
            if (k == 0)
                for (uint32_t i = 0; i < 4; i++)
                    sum[4 * r + i] = 0;
            /* of columns that are not there nothing is kept */
            mct_nt_1x4(sum + 4 * r, x + r * d->depth + k, w.at[now], depth, depth);
            if (k + depth == d->depth)
                for (uint32_t i = 0; i < 4 && column + i < d->columns; i++)
                    p->y[r * d->columns + column + i] = mct_finished(sum[4 * r + i], &finish, column + i);
        }
    }
}

void MCT_TILED(dense)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense *d = args;
    const uint32_t row = rounded(ROWS * d->depth * sizeof(mct_elem));
    const uint32_t room = mct_l1_all().left;
    uint32_t tile = d->columns;
    bool fits = d->depth % 2 == 0 && d->depth <= 2048;
    if (d->rows >= ROWS) {
        /* a column takes a row of w, its bias and its part of every worker's y */
        const uint32_t column =
            d->depth * sizeof(mct_elem) + sizeof(float) + WORKERS * 2 * ROWS * sizeof(mct_elem);
        const uint32_t others = WORKERS * 2 * row + (2 + 2 * WORKERS) * 16;
        fits = fits && others + 8 * column <= room;
        if (fits && others + tile * column > room)
            tile = (room - others) / column & ~7u;
        if (d->tile_columns) {
            fits = fits && mct_min(d->tile_columns, d->columns) <= tile;
            tile = mct_min(d->tile_columns, d->columns);
        }
    } else
        fits = fits && rounded(d->rows * d->depth * sizeof(mct_elem)) +
                               WORKERS * 2 * 4 * mct_min(d->depth, CHUNK_DEPTH) * sizeof(mct_elem) <=
                           room;
    if (!fits) {
        mct_any_shape_dense(args, worker, workers);
        return;
    }
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        const struct product p = {d, (const mct_elem *)d->x + batch * d->rows * d->depth,
                                  (const mct_elem *)d->w + batch * d->columns * d->depth,
                                  (mct_elem *)d->y + batch * d->rows * d->columns};
        if (d->rows < ROWS) {
            if (batch)
                mct_barrier();
            few_rows(&p, worker, workers);
        } else
            for (uint32_t column = 0; column < d->columns; column += tile) {
                if (batch || column)
                    mct_barrier();
                many_rows(&p, column, mct_min(tile, d->columns - column), worker, workers);
            }
    }
}
#else
#include "../dense.c"
#endif
