/* What a target with a scratch-pad memory gives its kernels, those in kernels/tiled.
 *
 * The workers share a small memory, L1, that each kernel call has to itself; its contents are undefined
 * at first. Tensors are elsewhere, and travel by DMA while the workers compute. */
#ifndef MCT_CLUSTER_H
#define MCT_CLUSTER_H

#include "mct.h"

/* L1: its first byte, 16-byte aligned, and how many bytes kernels may use. */
uint8_t *mct_l1(void);
uint32_t mct_l1_size(void);

/* Wait until every active worker is here. What they wrote before, all see afterwards. */
void mct_barrier(void);

/* Begin a group of transfers and return its number. The transfers that this worker starts from here on
 * belong to it, until it begins another; there may be eight groups at a time. */
uint32_t mct_dma_begin(void);

/* Start to copy up to 65535 bytes to L1, or from there. */
void mct_dma_in(void *l1, const void *memory, uint32_t bytes);
void mct_dma_out(void *memory, const void *l1, uint32_t bytes);

/* Start to copy `rows` rows of `row` bytes each: one after the other in L1, `stride` bytes apart in memory.
 */
void mct_dma_in_rows(void *l1, const void *memory, uint32_t rows, uint32_t row, uint32_t stride);
void mct_dma_out_rows(void *memory, const void *l1, uint32_t rows, uint32_t row, uint32_t stride);

/* Wait until a group's transfers are complete. By the worker that began it, once. */
void mct_dma_wait(uint32_t group);

#endif
