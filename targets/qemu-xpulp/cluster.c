/* The cluster's scratch-pad memory as a plain array: DMA is a copy, done at once. */
#include "cluster.h"
#include "mct_model.h"

static uint8_t l1[MCT_L1_SIZE] __attribute__((aligned(16)));
static uint32_t arrived, round;

uint8_t *mct_l1(void) {
    return l1;
}

uint32_t mct_l1_size(void) {
    return MCT_L1_SIZE;
}

void mct_barrier(void) {
    uint32_t now = __atomic_load_n(&round, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == mct_active_workers) {
        __atomic_store_n(&arrived, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&round, now + 1, __ATOMIC_SEQ_CST);
    }
    while (__atomic_load_n(&round, __ATOMIC_SEQ_CST) == now)
        ;
}

uint32_t mct_dma_begin(void) {
    return 0;
}

void mct_dma_in(void *to, const void *memory, uint32_t bytes) {
    memcpy(to, memory, bytes);
}

void mct_dma_out(void *memory, const void *from, uint32_t bytes) {
    memcpy(memory, from, bytes);
}

void mct_dma_in_rows(void *to, const void *memory, uint32_t rows, uint32_t row, uint32_t stride) {
    for (uint32_t r = 0; r < rows; r++)
        memcpy((uint8_t *)to + r * row, (const uint8_t *)memory + r * stride, row);
}

void mct_dma_out_rows(void *memory, const void *from, uint32_t rows, uint32_t row, uint32_t stride) {
    for (uint32_t r = 0; r < rows; r++)
        memcpy((uint8_t *)memory + r * stride, (const uint8_t *)from + r * row, row);
}

void mct_dma_wait(uint32_t group) {
    (void)group;
}
