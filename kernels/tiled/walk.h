/* A convolution as a walk over tiles in L1, forward or as input gradient.
 *
 * x is brought to L1 in tiles of whole rows, padded with zeros, so that what an output pixel meets are runs
 * of neighbouring elements at fixed distances from one another; four pixels of a row, a fixed distance apart,
 * walk them together and share the weights. Tiles and blocks of weights are double-buffered: DMA brings
 * those of the next step while the workers compute this one.
 *
 * Where runs would cut pairs, a worker copies what four pixels meet to a place of its own, one behind the
 * other, and that is the only run.
 *
 * A group's outputs meet its own channels of the tile; a block of weights is of one group.
 *
 * Outputs come in phases: a phase's pixels meet the same runs. Forward there is one; an input gradient
 * of stride s has s * s of them, some of which may meet nothing. A super-row is one row of each phase,
 * `out_row_step` rows of y.
 *
 * L1: the structures, what lies between runs, x and y of one tile or twice of it, weights (all, or two
 * blocks), and with copied runs four rows of weights' length for each worker. */
#ifndef MCT_TILED_WALK_H
#define MCT_TILED_WALK_H

#include "walk_share.h"

static void mct_walk(const struct mct_walk *k, uint32_t worker, uint32_t workers) {
    struct mct_step s = {0}, next = {0}, before = {0};
    uint32_t loading = 0, storing = 0;
    bool more = true, stored = false;
    if (worker == 0) {
        loading = mct_dma_begin();
        mct_walk_load(k, &s, true);
    }
    mct_walk_zero_sides(k, worker, workers);
    for (bool first = true; more; first = false) {
        if (worker == 0) {
            mct_dma_wait(loading);
            if (stored && s.chunk == 0) {
                mct_dma_wait(storing);
                stored = false;
            }
        }
        mct_barrier();
        more = mct_walk_next(k, &next);
        if (worker == 0) {
            if (s.chunk == 0 && !first) {
                storing = mct_dma_begin();
                mct_walk_store(k, &before);
                stored = true;
            }
            loading = mct_dma_begin();
            if (more)
                mct_walk_load(k, &next, false);
        }
        for (uint32_t p = 0; p < k->phases; p++)
            mct_walk_share(k, &s, k->phase + p, worker, workers);
        before = s;
        s = next;
    }
    mct_barrier();
    if (worker == 0) {
        if (stored)
            mct_dma_wait(storing);
        mct_dma_wait(loading);
        storing = mct_dma_begin();
        mct_walk_store(k, &before);
        mct_dma_wait(storing);
    }
}

#endif
