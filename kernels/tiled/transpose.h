/* Transposition of matrices of short vectors, tile by tile through L1.
 *
 * x[groups][columns][middle][rows] becomes y[groups][rows][middle][columns], as the weights of a convolution
 * do for its input gradient. Of a tile, `tall` rows and `wide` columns of both, DMA makes one piece in L1 and
 * of its transpose one in y. Each worker has its tiles and its part of L1, and waits for nobody: while one
 * computes, DMA works for the others. */
#ifndef MCT_TILED_TRANSPOSE_H
#define MCT_TILED_TRANSPOSE_H

#include "../elements.h"
#include "../simd/runs.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "../simd/streams_xpulp.h"
#endif
#include "../strided_copy.h"
#include "l1.h"

enum { MCT_TRANSPOSE_WORKERS = 8, MCT_TRANSPOSE_TALLEST = 16 };

/* Distances in x: from one group, column and middle element to the next. */
struct mct_transpose {
    uint32_t groups, rows, middle, columns;
    uint32_t group_step, pitch;
    uint32_t size; /* bytes of an element of x */
    uint32_t tall, wide;
};

/* Whether a copy is such a transposition, and which. */
MCT_INLINE bool mct_transpose_find(struct mct_transpose *k, const struct mct_strided_copy *d) {
    const uint32_t *dims = d->dims, *strides = d->strides;
    uint32_t axis = MCT_RANK - 1, column_step = strides[axis];
    *k = (struct mct_transpose){.groups = 1, .middle = 1, .columns = dims[axis--]};
    k->pitch = column_step;
    k->size = d->conversion == MCT_NARROW ? sizeof(float) : sizeof(mct_elem);
    if (strides[axis] != 1) {
        k->middle = dims[axis];
        k->pitch = strides[axis--];
    }
    k->rows = dims[axis];
    if (strides[axis--] != 1 || k->rows < 2 || k->columns < 2 || k->pitch < k->rows ||
        column_step != k->middle * k->pitch)
        return false;
    k->groups = dims[axis];
    k->group_step = strides[axis];
    while (axis-- > 0)
        if (dims[axis] != 1)
            return false;
    return true;
}

/* Tiles that fit `room` bytes, of about the same number for each worker. */
MCT_INLINE bool mct_transpose_plan(struct mct_transpose *k, uint32_t room, uint32_t workers) {
    const uint32_t vector = k->middle * (k->size + sizeof(mct_elem));
    k->tall = mct_min((k->rows + 1) / 2 * 2, MCT_TRANSPOSE_TALLEST);
    while (k->tall > 2 && 2 * k->tall * vector > room)
        k->tall = (k->tall / 2 + 1) / 2 * 2;
    const uint32_t widest = room / (k->tall * vector) / 2 * 2;
    if (widest < 2 || k->middle * k->tall * widest * k->size > UINT16_MAX)
        return false;
    const uint32_t pieces = k->groups * mct_ceil_div(k->rows, k->tall);
    uint32_t least = UINT32_MAX, across = mct_ceil_div(k->columns, widest);
    if (pieces * across < workers) /* one for each, if there are so many columns */
        across = mct_min(mct_ceil_div(workers, pieces), (k->columns + 1) / 2);
    for (uint32_t last = across + 7; across <= last; across++) {
        const uint32_t wide = (mct_ceil_div(k->columns, across) + 1) / 2 * 2;
        const uint32_t tiles = pieces * mct_ceil_div(k->columns, wide);
        const uint32_t rounds = workers == 8 ? (tiles + 7) / 8 : mct_ceil_div(tiles, workers);
        const uint32_t time = rounds * (wide + 2);
        if (time < least) {
            least = time;
            k->wide = wide;
        }
        if (rounds * workers == tiles)
            break; /* no worker waits for others */
    }
    return true;
}

/* y[tall][middle][wide] from x[wide][middle][tall]. */
#define MCT_TRANSPOSE_TILE(name, from_type, two_by_two, one)                                                 \
    static void name(mct_elem *y, const from_type *x, uint32_t tall, uint32_t middle, uint32_t wide) {       \
        const uint32_t x_step = middle * tall, y_step = middle * wide;                                       \
        for (uint32_t c = 0; c < wide; c += 2)                                                               \
            for (uint32_t m = 0; m < middle; m++) {                                                          \
                const from_type *p = x + (c * middle + m) * tall;                                            \
                mct_elem *to = y + m * wide + c;                                                             \
                uint32_t r = tall / 2;                                                                       \
                if (c + 1 < wide) {                                                                          \
                    _Pragma("clang loop unroll_count(4)") for (; r; r--, p += 2, to += 2 * y_step)           \
                        two_by_two(to, y_step, p, p + x_step);                                               \
                    if (tall % 2) {                                                                          \
                        to[0] = one(p[0]);                                                                   \
                        to[1] = one(p[x_step]);                                                              \
                    }                                                                                        \
                } else {                                                                                     \
                    for (r = tall; r; r--, p++, to += y_step)                                                \
                        *to = one(*p);                                                                       \
                }                                                                                            \
            }                                                                                                \
    }

MCT_TRANSPOSE_TILE(mct_transpose_tile, mct_elem, mct_turn_2x2, )
MCT_TRANSPOSE_TILE(mct_transpose_narrow, float, mct_narrow_2x2, mct_narrow)

/* mct_transpose_tile in PULP's instructions for two columns of x at a time, where there are pairs. */
MCT_INLINE void mct_transpose_pairs(mct_elem *y, const mct_elem *x, uint32_t tall, uint32_t middle,
                                    uint32_t wide) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    if (wide % 2 == 0) {
        for (uint32_t r = 0; r + 2 <= tall; r += 2)
            mct_x_turn(y + r * middle * wide, x + r, tall, middle, wide / 2);
        if (tall % 2) {
            mct_elem *to = y + (tall - 1) * middle * wide;
            for (uint32_t m = 0; m < middle; m++)
                for (uint32_t c = 0; c < wide; c++)
                    *to++ = x[(c * middle + m + 1) * tall - 1];
        }
        return;
    }
#endif
    mct_transpose_tile(y, x, tall, middle, wide);
}

/* False, at once: another copy, or too large. */
MCT_INLINE bool mct_transpose(const struct mct_strided_copy *d, uint32_t worker, uint32_t workers) {
    struct mct_transpose k;
    const struct mct_l1 l1 = mct_l1_all();
    const uint32_t room = l1.left / MCT_TRANSPOSE_WORKERS / 16 * 16;
    if (room < 64 || !mct_transpose_find(&k, d) || !mct_transpose_plan(&k, room - 32, workers))
        return false;
    const uint32_t down = mct_ceil_div(k.rows, k.tall), across = mct_ceil_div(k.columns, k.wide);
    const uint32_t y_group = k.rows * k.middle * k.columns, size = sizeof(mct_elem);
    uint8_t *x = l1.at + worker * room;
    mct_elem *y = (mct_elem *)(void *)(x + (k.wide * k.middle * k.tall * k.size + 15) / 16 * 16);
    uint32_t item, last, dma = 0;
    mct_split(k.groups * down * across, worker, workers, &item, &last);
    mct_elem *sent = 0;
    uint32_t sent_tall = 0, sent_wide = 0;
    uint32_t column = item % across * k.wide, row = item / across, group = row / down;
    row = row % down * k.tall;
    for (bool first = true; item < last; item++, first = false) {
        const uint32_t wide = mct_min(k.wide, k.columns - column), tall = mct_min(k.tall, k.rows - row);
        dma = mct_dma_begin();
        mct_dma_in_rows(
            x, (const uint8_t *)d->x + (group * k.group_step + column * k.middle * k.pitch + row) * k.size,
            wide * k.middle, tall * k.size, k.pitch * k.size);
        if (!first)
            mct_dma_out_rows(sent, y, sent_tall * k.middle, sent_wide * size, k.columns * size);
        mct_dma_wait(dma);
        if (d->conversion == MCT_NARROW)
            mct_transpose_narrow(y, (const float *)(void *)x, tall, k.middle, wide);
        else
            mct_transpose_pairs(y, (const mct_elem *)(void *)x, tall, k.middle, wide);
        sent = (mct_elem *)d->y + group * y_group + row * k.middle * k.columns + column;
        sent_tall = tall;
        sent_wide = wide;
        column += k.wide;
        if (column >= k.columns) {
            column = 0;
            row += k.tall;
        }
        if (row >= k.rows) {
            row = 0;
            group++;
        }
    }
    if (sent) {
        dma = mct_dma_begin();
        mct_dma_out_rows(sent, y, sent_tall * k.middle, sent_wide * size, k.columns * size);
        mct_dma_wait(dma);
    }
    return true;
}

#endif
