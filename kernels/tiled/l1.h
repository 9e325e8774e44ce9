/* Taking memory from L1, and long transfers. */
#ifndef MCT_TILED_L1_H
#define MCT_TILED_L1_H

#include "../cluster.h"

enum { MCT_SHARED = 16 }; /* bytes at the start of L1, see MCT_SHARE */

/* What is left of L1. */
struct mct_l1 {
    uint8_t *at;
    uint32_t left;
};

MCT_INLINE struct mct_l1 mct_l1_all(void) {
    return (struct mct_l1){mct_l1() + MCT_SHARED, mct_l1_size() / 16 * 16 - MCT_SHARED};
}

/* `k` becomes what worker 0 finds `plan` to be, for all; a pointer into L1 or null. */
#define MCT_SHARE(k, plan, worker)                                                                           \
    do {                                                                                                     \
        void *volatile *shared = (void *volatile *)(void *)mct_l1();                                         \
        if ((worker) == 0)                                                                                   \
            *shared = (void *)(plan);                                                                        \
        mct_barrier();                                                                                       \
        (k) = *shared;                                                                                       \
        if (!(k))                                                                                            \
            mct_barrier(); /* until all have read it */                                                      \
    } while (0)

/* Take bytes, rounded up to 16; null when there are not as many. */
MCT_INLINE void *mct_l1_take(struct mct_l1 *l1, uint32_t bytes) {
    bytes = (bytes + 15) / 16 * 16;
    if (bytes > l1->left)
        return NULL;
    void *taken = l1->at;
    l1->at += bytes;
    l1->left -= bytes;
    return taken;
}

enum { MCT_LONGEST_TRANSFER = 1 << 15 };

/* Transfers of any length. */
MCT_INLINE void mct_l1_in(void *l1, const void *memory, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes; at += MCT_LONGEST_TRANSFER)
        mct_dma_in((uint8_t *)l1 + at, (const uint8_t *)memory + at,
                   mct_min(bytes - at, MCT_LONGEST_TRANSFER));
}

MCT_INLINE void mct_l1_out(void *memory, const void *l1, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes; at += MCT_LONGEST_TRANSFER)
        mct_dma_out((uint8_t *)memory + at, (const uint8_t *)l1 + at,
                    mct_min(bytes - at, MCT_LONGEST_TRANSFER));
}

#endif
