/* Matrix products that reduce over rows (TN form), over operands that are in L1 for all, as pairs of rows.
 *
 * acc stays in memory, and passes through L1 in pieces of four rows, each worker's on its own: while one is
 * computed, the next comes and the last one leaves. */
#ifndef MCT_TILED_PRODUCT_TN_H
#define MCT_TILED_PRODUCT_TN_H

#include "simd/blocks_xpulp.h"
#include "tiled/squares.h"

/* Numbers along a piece at most; pieces of a worker in L1, each with 16 bytes behind it that are read. */
enum {
    MCT_TN_ROWS = 4,
    MCT_TN_ALONG = 32,
    MCT_TN_PLACES = 3,
    MCT_TN_WORKERS = 8,
    MCT_TN_PIECE = MCT_TN_ROWS * MCT_TN_ALONG * sizeof(float) + 16,
    MCT_TN_BYTES = MCT_TN_WORKERS * MCT_TN_PLACES * MCT_TN_PIECE,
};

/* acc[columns][depth] += dy[rows][columns]^T . x[rows][pitch] */
struct mct_tn {
    float *acc;
    uint32_t columns, depth; /* columns in fours */
    uint32_t pitch;          /* elements of a row of x in L1: depth, rounded up to four */
    uint32_t along, pieces;  /* numbers along a piece, in fours; pieces along the depth */
    uint8_t *places;
    float *kept; /* for squares, when rows come in several parts: the sums of all pieces */
};

/* A piece: its row of four in acc, and its first number. */
struct mct_tn_piece {
    uint32_t column, first;
};

/* Pieces so small that workers have as many of them. */
MCT_INLINE struct mct_tn mct_tn(float *acc, uint32_t columns, uint32_t depth, void *places) {
    struct mct_tn t = {.acc = acc, .columns = columns, .depth = depth, .places = places};
    t.pitch = (depth + 3) & ~3u;
    t.along = t.pitch;
    for (uint32_t halves = 0;; halves++) {
        t.along = ((t.pitch + (1u << halves) - 1) >> halves) + 3 & ~3u;
        if (t.along <= MCT_TN_ALONG && (t.along <= 8 || (columns / MCT_TN_ROWS << halves) % 8 == 0))
            break;
    }
    t.pieces = mct_ceil_div(t.pitch, t.along);
    return t;
}

MCT_INLINE void mct_tn_next(const struct mct_tn *t, struct mct_tn_piece *p) {
    p->first += t->along;
    if (p->first >= t->pitch) {
        p->first = 0;
        p->column += MCT_TN_ROWS;
    }
}

/* In L1 the rows are in the order 0, 2, 1, 3, see mct_x_tn_blocks. */
static void mct_tn_move(const struct mct_tn *t, struct mct_tn_piece p, float *l1, bool in) {
    float *acc = t->acc + p.column * t->depth + p.first;
    const uint32_t along = mct_min(t->along, t->depth - p.first), row = along * sizeof(float);
    if (along == t->along) {
        for (uint32_t i = 0; i < 2; i++, l1 += 2 * along, acc += t->depth)
            if (in)
                mct_dma_in_rows(l1, acc, 2, row, 2 * t->depth * sizeof(float));
            else
                mct_dma_out_rows(acc, l1, 2, row, 2 * t->depth * sizeof(float));
        return;
    }
    for (uint32_t i = 0; i < MCT_TN_ROWS; i++, l1 += t->along) {
        float *to = acc + (i >> 1 | (i & 1) << 1) * t->depth;
        if (in)
            mct_dma_in(l1, to, row);
        else
            mct_dma_out(to, l1, row);
    }
}

/* A worker's pieces. */
struct mct_tn_share {
    float *place[MCT_TN_PLACES];
    struct mct_tn_piece next; /* to be brought */
    uint32_t count;
};

MCT_INLINE float *mct_tn_place(const struct mct_tn *t, uint32_t worker, uint32_t i) {
    return (float *)(void *)(t->places + (worker * MCT_TN_PLACES + i) * MCT_TN_PIECE);
}

/* Begins to bring a worker's first two pieces. */
static struct mct_tn_share mct_tn_begin(const struct mct_tn *t, uint32_t worker, uint32_t workers,
                                        struct mct_tn_piece *at) {
    struct mct_tn_share s;
    uint32_t first, last;
    mct_split(t->columns / MCT_TN_ROWS * t->pieces, worker, workers, &first, &last);
    *at = (struct mct_tn_piece){first / t->pieces * MCT_TN_ROWS, first % t->pieces * t->along};
    s.next = *at;
    s.count = last - first;
    for (uint32_t i = 0; i < MCT_TN_PLACES; i++)
        s.place[i] = mct_tn_place(t, worker, i);
    for (uint32_t i = 0; i < 2 && i < s.count; i++) {
        mct_tn_move(t, s.next, s.place[i], true);
        mct_tn_next(t, &s.next);
    }
    return s;
}

/* acc[4][along] of a piece += its products, over `pairs` > 0 pairs of rows. */
MCT_INLINE void mct_tn_products(const struct mct_tn *t, struct mct_tn_piece at, float *acc, const mct_elem *x,
                                const mct_elem *dy, uint32_t pairs) {
    const uint32_t wide = mct_min(t->along, t->pitch - at.first), row = t->along * sizeof(float);
    struct mct_x_tn blocks = {
        .a = x + at.first,
        .b = dy + at.column,
        .a_step = (int32_t)(t->pitch * sizeof(mct_elem)) - 4,
        .b_step = (int32_t)(t->columns * sizeof(mct_elem)) - 4,
        .more = pairs - 1,
        .blocks = wide / 4,
        .acc = acc,
        .pitch = (int32_t)row,
        .back = -3 * (int32_t)row - 12,
    };
    mct_x_tn_blocks(&blocks);
}

/* Begins to take the `i`th piece of a worker away and to bring the next but one, when the transfers of
 * `group` are done; the next piece is in place 0 then. Returns the group of these transfers. */
MCT_INLINE uint32_t mct_tn_pass(const struct mct_tn *t, struct mct_tn_share *s, struct mct_tn_piece at,
                                uint32_t i, uint32_t group) {
    if (i)
        mct_dma_wait(group);
    group = mct_dma_begin();
    mct_tn_move(t, at, s->place[0], false);
    if (i + 2 < s->count) {
        mct_tn_move(t, s->next, s->place[2], true);
        mct_tn_next(t, &s->next);
    }
    float *left = s->place[0];
    s->place[0] = s->place[1];
    s->place[1] = s->place[2];
    s->place[2] = left;
    return group;
}

/* The products of a worker, over `pairs` > 0 pairs of rows. What mct_tn_begin brings is there. */
static void mct_tn_run(const struct mct_tn *t, struct mct_tn_share s, struct mct_tn_piece at,
                       const mct_elem *x, const mct_elem *dy, uint32_t pairs) {
    uint32_t group = 0;
    for (uint32_t i = 0; i < s.count; i++, mct_tn_next(t, &at)) {
        mct_tn_products(t, at, s.place[0], x, dy, pairs);
        group = mct_tn_pass(t, &s, at, i, group);
    }
    if (s.count)
        mct_dma_wait(group);
}

/* Numbers that `kept` has room for. */
MCT_INLINE uint32_t mct_tn_kept(const struct mct_tn *t) {
    return t->columns * t->pieces * t->along + 4;
}

/* As mct_tn_run, for the squares of products, which begin with zeros in the `first` part of the rows, and are
 * complete with the `last` one. */
static __attribute__((noinline)) void mct_tn_run_squares(const struct mct_tn *t, struct mct_tn_share s,
                                                         struct mct_tn_piece at, const mct_elem *x,
                                                         const mct_elem *dy, uint32_t pairs, bool first,
                                                         bool last) {
    float own[MCT_TN_PIECE / sizeof(float)];
    const uint32_t size = MCT_TN_ROWS * t->along;
    uint32_t group = 0;
    for (uint32_t i = 0; i < s.count; i++, mct_tn_next(t, &at)) {
        float *sums = t->kept ? t->kept + at.column * t->pieces * t->along + at.first * MCT_TN_ROWS : own;
        if (first)
            mct_sums_zero(sums, size);
        mct_tn_products(t, at, sums, x, dy, pairs);
        if (!last)
            continue;
        mct_squares_here(s.place[0], sums, size);
        group = mct_tn_pass(t, &s, at, i, group);
    }
    if (last && s.count)
        mct_dma_wait(group);
}

/* Brings a share of the rows [first, first + rows) of a matrix to L1, in an even number: the last may be one
 * of zeros. */
MCT_INLINE void mct_tn_bring_rows(mct_elem *to, const mct_elem *from, uint32_t rows, uint32_t width,
                                  uint32_t pair, uint32_t last) {
    const uint32_t row = pair * 2, end = mct_min(last * 2, rows);
    if (row >= end)
        return;
    mct_l1_in(to + row * width, from + row * width, (end - row) * width * sizeof(mct_elem));
    if (end < last * 2)
        memset(to + end * width, 0, width * sizeof(mct_elem));
}

/* Rows [2 * pair, 2 * last) of m[][width] in L1, in pairs. Width is a multiple of four. */
MCT_INLINE void mct_tn_pair_rows(mct_elem *m, uint32_t width, uint32_t pair, uint32_t last) {
    for (mct_elem *row = m + 2 * pair * width; pair < last; pair++, row += 2 * width)
        mct_x_pair_rows(row, row + width, width / 2);
}

#endif
