/* A matrix whose rows go through L1 while each worker follows a few of its columns. */
#ifndef MCT_TILED_ROWS_H
#define MCT_TILED_ROWS_H

#include "simd/simd.h"
#include "tiled/l1.h"

enum { MCT_ROWS_TURN = 8192 }; /* bytes */

/* For `columns` columns from `column` on of `rows` rows, which are `pitch` elements long. */
typedef void (*mct_rows_step)(void *context, const mct_elem *rows, uint32_t count, uint32_t pitch);

/* Calls `follow` for all rows of m[rows][pitch], an even number at a time, from the first to the last.
 * False, at once: not even two rows fit. */
MCT_INLINE bool mct_rows_follow(const mct_elem *m, uint32_t rows, uint32_t pitch, uint32_t worker,
                                uint32_t workers, mct_rows_step follow, void *context) {
    struct mct_l1 l1 = mct_l1_all();
    const uint32_t row = pitch * sizeof(mct_elem);
    if (4 * row + 32 > l1.left)
        return false;
    uint32_t turn = MCT_ROWS_TURN / row / 2 * 2;
    turn = turn < 2 ? 2 : mct_min(turn, (rows + 1) / 2 * 2);
    mct_elem *place[2] = {mct_l1_take(&l1, turn * row)};
    place[1] = mct_l1_take(&l1, turn * row);
    uint32_t now = 0, group = 0;
    if (worker == workers - 1) {
        group = mct_dma_begin();
        mct_l1_in(place[0], m, mct_min(turn, rows) * row);
    }
    for (uint32_t at = 0; at < rows; at += turn, now ^= 1) {
        const uint32_t next = at + turn;
        if (worker == workers - 1)
            mct_dma_wait(group);
        mct_barrier(); /* these rows are here, the last ones free */
        if (worker == workers - 1 && next < rows) {
            group = mct_dma_begin();
            mct_l1_in(place[now ^ 1], m + next * pitch, mct_min(turn, rows - next) * row);
        }
        follow(context, place[now], mct_min(turn, rows - at), pitch);
    }
    return true;
}

#endif
