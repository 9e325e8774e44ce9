/* Fast memory of a worker: its share of a cluster's L1, and copies into it that go on while the worker does.
 *
 * A target without such a memory has none of it, and the kernels take their ways for that.
 */
#ifndef MCT_FAST_MEMORY_H
#define MCT_FAST_MEMORY_H

#include "mct.h"

#ifdef MCT_XPULP
#include "cluster.h"
enum { MCT_HAS_FAST = 1 };
#else
enum { MCT_HAS_FAST = 0 };

#ifndef MCT_CLUSTER_H
/* Never called, as there is no fast memory to copy to. */
MCT_INLINE uint32_t mct_dma_begin(void) {
    return 0;
}

MCT_INLINE void mct_dma_in(void *l1, const void *memory, uint32_t bytes) {
    (void)l1, (void)memory, (void)bytes;
}

MCT_INLINE void mct_dma_in_rows(void *l1, const void *memory, uint32_t rows, uint32_t row, uint32_t stride) {
    (void)l1, (void)memory, (void)rows, (void)row, (void)stride;
}

MCT_INLINE void mct_dma_out_rows(void *memory, const void *l1, uint32_t rows, uint32_t row, uint32_t stride) {
    (void)l1, (void)memory, (void)rows, (void)row, (void)stride;
}

MCT_INLINE void mct_dma_wait(uint32_t group) {
    (void)group;
}
#endif
#endif

/* What a worker has left of its fast memory. */
struct mct_fast {
    uint8_t *memory;
    uint32_t bytes;
};

MCT_INLINE struct mct_fast mct_fast_begin(uint32_t worker, uint32_t workers) {
#ifdef MCT_XPULP
    uint32_t share = mct_l1_size() / workers / 16 * 16;
    return (struct mct_fast){mct_l1() + worker * share, share};
#else
    (void)worker, (void)workers;
    return (struct mct_fast){0, 0};
#endif
}

/* `bytes` bytes of fast memory, or null when no more are left. */
MCT_INLINE void *mct_fast_take(struct mct_fast *fast, uint32_t bytes) {
    bytes = (bytes + 15) & ~15u;
    if (!MCT_HAS_FAST || bytes > fast->bytes)
        return 0;
    void *taken = fast->memory;
    fast->memory += bytes;
    fast->bytes -= bytes;
    return taken;
}

/* The worker's part of a workspace: in fast memory, if that has room for it, which *is_fast says. */
MCT_INLINE void *mct_workspace(struct mct_fast *fast, bool *is_fast, void *workspace, uint32_t stride,
                               uint32_t worker) {
    void *taken = mct_fast_take(fast, stride);
    *is_fast = taken != 0;
    return taken ? taken : (uint8_t *)workspace + worker * stride;
}

/* Copies to fast memory by DMA when that is worth while, else, and to other memory, at once. */
MCT_INLINE void mct_gather(void *to, const void *from, uint32_t bytes, bool fast) {
    if (MCT_HAS_FAST && fast && bytes >= 16)
        mct_dma_in(to, from, bytes);
    else
        memcpy(to, from, bytes);
}

#endif
