/* A matrix product of fewer than four rows through L1: x is there for all, and each worker has room of its
 * own behind it, where two parts of its share of w take turns: one comes while the other is used. */
#ifndef MCT_TILED_FEW_ROWS_H
#define MCT_TILED_FEW_ROWS_H

#include "tiled/many_rows.h"

struct mct_few {
    mct_elem *x;
    uint8_t *own;   /* this worker's room */
    mct_elem *w[2]; /* where the next part comes, and where the one is that has come */
    uint32_t group; /* of transfers of the next part */
};

/* Brings x; `own` is the bytes of a worker's room, a multiple of 16. */
MCT_INLINE struct mct_few mct_few_begin(const struct mct_product *p, uint32_t own, uint32_t worker) {
    const uint32_t bytes = p->rows * p->depth * sizeof(mct_elem);
    struct mct_l1 room = mct_l1_all();
    struct mct_few few = {.x = mct_l1_take(&room, bytes), .group = mct_dma_begin()};
    few.own = room.at + worker * own;
    if (worker == 0) {
        /* before all parts of w, or it would wait for them */
        mct_l1_in(few.x, p->x, bytes);
        mct_dma_wait(few.group);
        few.group = mct_dma_begin();
    }
    return few;
}

/* Waits for the next part; transfers are those of the one after it then. */
MCT_INLINE void mct_few_turn(struct mct_few *few) {
    mct_elem *const used = few->w[1];
    mct_dma_wait(few->group);
    few->group = mct_dma_begin();
    few->w[1] = few->w[0];
    few->w[0] = used;
}

#endif
