/* A matrix product of many rows through L1, in NT or NN form. */
#ifndef MCT_TILED_MANY_ROWS_H
#define MCT_TILED_MANY_ROWS_H

#include "tiled/product_nn.h"
#include "tiled/product_nt.h"

enum {
    MCT_MANY_WORKERS = 8,
    MCT_WORTH_CUTTING = 1, /* blocks that a worker has to be spared for fours of rows to be cut */
};

/* One product of a batch: in L1, as each loop needs these numbers, and loads from memory take long. */
struct mct_product {
    const mct_elem *x, *w;
    mct_elem *y;
    uint32_t rows, columns, depth;
    struct mct_finish finish;
};

/* Two buffers of one worker, which take turns. */
struct mct_turns {
    mct_elem *at[2];
};

MCT_INLINE uint32_t mct_turn_bytes(uint32_t bytes) {
    return (bytes + 15) / 16 * 16;
}

MCT_INLINE struct mct_turns mct_take_turns(struct mct_l1 *room, uint32_t bytes) {
    struct mct_turns turns;
    for (uint32_t i = 0; i < 2; i++)
        turns.at[i] = mct_l1_take(room, bytes);
    return turns;
}

/* Columns of a tile, of all or those that are asked for (0: as many as fit); 0 where none fits. */
MCT_INLINE uint32_t mct_many_columns(uint32_t columns, uint32_t depth, uint32_t asked) {
    /* a column takes its part of w, its bias and its part of every worker's y */
    const uint32_t column =
        depth * sizeof(mct_elem) + sizeof(float) + MCT_MANY_WORKERS * 2 * MCT_NT_ROWS * sizeof(mct_elem);
    const uint32_t others = MCT_MANY_WORKERS * 2 * mct_turn_bytes(MCT_NT_ROWS * depth * sizeof(mct_elem)) +
                            (2 + 2 * MCT_MANY_WORKERS) * 16;
    const uint32_t room = mct_l1_all().left;
    const uint32_t wanted = asked ? mct_min(asked, columns) : columns;
    if (others + 8 * column > room)
        return 0;
    if (others + wanted * column <= room)
        return wanted;
    return asked ? 0 : (room - others) / column & ~7u;
}

MCT_INLINE void mct_bring_rows(const struct mct_product *p, mct_elem *to, uint32_t block) {
    const uint32_t row = block * MCT_NT_ROWS, depth = p->depth;
    mct_l1_in(to, p->x + row * depth, mct_min(MCT_NT_ROWS, p->rows - row) * depth * sizeof(mct_elem));
}

MCT_INLINE void mct_send_rows(const struct mct_product *p, const mct_elem *from, uint32_t block,
                              uint32_t column, uint32_t columns) {
    const uint32_t row = block * MCT_NT_ROWS;
    mct_dma_out_rows(p->y + row * p->columns + column, from, mct_min(MCT_NT_ROWS, p->rows - row),
                     columns * sizeof(mct_elem), p->columns * sizeof(mct_elem));
}

/* A worker's share of fours of rows: [first, last), of the first one the columns from `from` on, of the last
 * one those up to `to`. */
struct mct_fours {
    uint32_t first, last, from, to;
};

/* Fours of rows are shared out, or, where that leaves workers without work, blocks of four by four; those of
 * the rows that are left, which take less time, are the last worker's. */
MCT_INLINE struct mct_fours mct_share_fours(uint32_t rows, uint32_t columns, uint32_t worker,
                                            uint32_t workers) {
    struct mct_fours f = {.to = columns};
    const uint32_t whole = rows / MCT_NT_ROWS, left = rows % MCT_NT_ROWS, across = columns / 4;
    const uint32_t fours = whole + (left ? 1 : 0), blocks = whole * across;
    const uint32_t work = blocks + across * left * 3 / 8, even = workers == 8 ? (fours + 7) / 8 * 8 : 0;
    mct_split(fours, worker, workers, &f.first, &f.last);
    if (columns % 4 || even * across <= work + MCT_WORTH_CUTTING * workers)
        return f;
    uint32_t first, last;
    mct_split(work, worker, workers, &first, &last);
    first = mct_min(first, blocks);
    last = mct_min(last, blocks);
    f.first = first / across;
    f.from = (first - f.first * across) * 4;
    f.last = mct_ceil_div(last, across);
    f.to = (last - (f.last - 1) * across) * 4;
    if (first == last) {
        f = (struct mct_fours){whole, whole, 0, columns};
    }
    if (left && worker == workers - 1) {
        f.last = whole + 1;
        f.to = columns;
    }
    return f;
}

/* Pairs of rows [first, last) of w in NN form: begin to bring them, and make them pairs. */
MCT_INLINE void mct_bring_pairs(const struct mct_product *p, mct_elem *w, uint32_t first, uint32_t last,
                                uint32_t column, uint32_t columns) {
    if (first < last)
        mct_dma_in_rows(w + 2 * first * columns, p->w + 2 * first * p->columns + column, 2 * (last - first),
                        columns * sizeof(mct_elem), p->columns * sizeof(mct_elem));
}

MCT_INLINE void mct_make_pairs(mct_elem *w, uint32_t first, uint32_t last, uint32_t columns) {
    for (w += 2 * first * columns; first < last; first++, w += 2 * columns)
        mct_x_pair_fours(w, w + columns, columns / 2);
}

/* The columns from `column` on, so many as are tiled: they and their bias are in L1 for all, and rows go
 * through it in fours, each worker's on their own.
 *
 * w is [columns][depth]. In NN form it is [depth][columns], there is no bias, and each worker makes pairs of
 * its share of the rows of w. */
MCT_INLINE void mct_many_rows(const struct mct_product *p, bool nn, uint32_t column, uint32_t columns,
                              uint32_t worker, uint32_t workers) {
    enum { ROWS = MCT_NT_ROWS };
    const uint32_t row = p->depth * sizeof(mct_elem), across = columns * sizeof(mct_elem);
    struct mct_l1 room = mct_l1_all();
    mct_elem *w = mct_l1_take(&room, columns * row);
    float *bias = mct_l1_take(&room, columns * sizeof(float));
    room.at += worker * 2 * (mct_turn_bytes(ROWS * row) + mct_turn_bytes(ROWS * across));
    const struct mct_turns x = mct_take_turns(&room, ROWS * row);
    const struct mct_turns y = mct_take_turns(&room, ROWS * across);
    struct mct_finish finish = p->finish;
    if (!finish.bias)
        bias = NULL;
    struct mct_fours share;
    uint32_t begin, end, group = mct_dma_begin();
    if (nn) {
        mct_split(p->depth / 2, worker, workers, &begin, &end);
        const uint32_t half = begin + (end - begin) / 2;
        mct_bring_pairs(p, w, begin, half, column, columns);
        mct_dma_wait(group);
        group = mct_dma_begin();
        mct_bring_pairs(p, w, half, end, column, columns);
        share = mct_share_fours(p->rows, columns, worker, workers);
        mct_make_pairs(w, begin, half, columns);
        mct_dma_wait(group);
        group = mct_dma_begin();
        if (share.first < share.last)
            mct_bring_rows(p, x.at[0], share.first);
        mct_make_pairs(w, half, end, columns);
    } else {
        mct_split(columns, worker, workers, &begin, &end);
        mct_l1_in(w + begin * p->depth, p->w + (column + begin) * p->depth, (end - begin) * row);
        if (bias && worker == 0)
            mct_l1_in(bias, p->finish.bias + column, columns * sizeof(float));
        share = mct_share_fours(p->rows, columns, worker, workers);
        if (share.first < share.last)
            mct_bring_rows(p, x.at[0], share.first);
    }
    mct_dma_wait(group);
    mct_barrier();
    uint32_t from = share.from, to = columns, sent = 0, now = 0;
    for (uint32_t block = share.first; block < share.last; block++, now ^= 1) {
        const uint32_t rows = mct_min(ROWS, p->rows - block * ROWS);
        if (block > share.first)
            mct_dma_wait(group);
        group = mct_dma_begin();
        if (block + 1 < share.last)
            mct_bring_rows(p, x.at[1 - now], block + 1);
        else
            to = share.to;
        if (block > share.first)
            mct_send_rows(p, y.at[1 - now], block - 1, column + sent, columns - sent);
        if (nn)
            mct_nn_rows(y.at[now], x.at[now], w + from, columns, rows, to - from, p->depth);
        else {
            finish.bias = bias ? bias + from : bias;
            mct_nt_rows(y.at[now], x.at[now], w + from * p->depth, rows, to - from, p->depth, &finish);
        }
        sent = from;
        from = 0;
    }
    if (share.first == share.last)
        return;
    mct_send_rows(p, y.at[1 - now], share.last - 1, column + sent, to - sent);
    mct_dma_wait(group);
}

#endif
