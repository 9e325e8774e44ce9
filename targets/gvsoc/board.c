/* pulp-open: the controller runs the protocol, cluster cores 0 to 7 are the workers. The ninth sleeps. */
#include "board.h"
#include "cluster.h"
#include "link.h"
#include "mct_model.h"
#include "simulated.h"

enum { START_EVENT = 0, DONE_INTERRUPT = 1 };

static struct {
    mct_kernel kernel;
    const void *args;
    uint32_t workers;
} team __attribute__((section(".l1")));

static uint32_t all_workers(void) {
    return (1u << mct_workers) - 1;
}

/* All workers are woken and meet at the barrier again, so that it need not be set up anew when the host
 * asks for fewer. The controller sleeps meanwhile; its interrupts are disabled, which ends wfi all the
 * same. */
void mct_team_run(mct_kernel kernel, const void *args) {
    team.kernel = kernel;
    team.args = args;
    team.workers = mct_active_workers;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    REGISTER32(CLUSTER_TRIGGER_EVENT + 4 * START_EVENT) = all_workers();
    while (!(REGISTER32(INTERRUPT_STATUS) & DONE_INTERRUPT))
        wait_for_interrupt();
    REGISTER32(INTERRUPT_STATUS_CLEAR) = DONE_INTERRUPT;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- what kernels may use --------------------------------------------------------------------------- */

static uint8_t kernels_l1[MCT_L1_SIZE] __attribute__((section(".l1.kernels"), aligned(16)));

uint8_t *mct_l1(void) {
    return kernels_l1;
}

uint32_t mct_l1_size(void) {
    return MCT_L1_SIZE;
}

static void set_kernel_barrier(uint32_t workers) {
    REGISTER32(KERNEL_BARRIER_CORES) = (1u << workers) - 1;
    REGISTER32(KERNEL_BARRIER_TARGETS) = (1u << workers) - 1;
}

void mct_barrier(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    wait_for_event(KERNEL_BARRIER_WAIT_CLEAR);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint32_t mct_dma_begin(void) {
    return REGISTER32(DMA);
}

static void transfer(uint32_t command, const void *l1, const void *memory) {
    REGISTER32(DMA) = command | DMA_LINEAR_L1;
    REGISTER32(DMA) = (uint32_t)(uintptr_t)l1;
    REGISTER32(DMA) = (uint32_t)(uintptr_t)memory;
}

static void transfer_rows(uint32_t command, const void *l1, const void *memory, uint32_t row,
                          uint32_t stride) {
    transfer(command | DMA_ROWS, l1, memory);
    REGISTER32(DMA) = row;
    REGISTER32(DMA) = stride;
}

void mct_dma_in(void *l1, const void *memory, uint32_t bytes) {
    transfer(bytes | DMA_TO_L1, l1, memory);
}

void mct_dma_out(void *memory, const void *l1, uint32_t bytes) {
    transfer(bytes, l1, memory);
}

void mct_dma_in_rows(void *l1, const void *memory, uint32_t rows, uint32_t row, uint32_t stride) {
    transfer_rows(rows * row | DMA_TO_L1, l1, memory, row, stride);
}

void mct_dma_out_rows(void *memory, const void *l1, uint32_t rows, uint32_t row, uint32_t stride) {
    transfer_rows(rows * row, l1, memory, row, stride);
}

/* Its event stays masked: one that is pending would end the wait at a barrier. */
void mct_dma_wait(uint32_t group) {
    while (REGISTER32(DMA_STATUS) & 1u << group)
        ;
    REGISTER32(DMA_STATUS) = 1u << group;
}

/* ---- workers ---------------------------------------------------------------------------------------- */

/* From start.S, on cluster cores. A core waits either for the start or at the barrier, with the mask of
 * that event alone: one that comes early stays pending, and wakes nobody from the other. */
_Noreturn void mct_worker(uint32_t worker);
_Noreturn void mct_worker(uint32_t worker) {
    uint32_t workers = 0;
    if (worker == 0) {
        /* in this order: a barrier of no cores is reached at once */
        REGISTER32(BARRIER_CORES) = all_workers();
        REGISTER32(BARRIER_TARGETS) = all_workers();
    }
    for (;;) {
        REGISTER32(EVENT_MASK) = 1 << START_EVENT;
        wait_for_event(EVENT_WAIT_CLEAR);
        REGISTER32(EVENT_MASK) = BARRIER_EVENT;
        if (workers != team.workers) {
            workers = team.workers;
            if (worker == 0)
                set_kernel_barrier(workers);
            wait_for_event(BARRIER_WAIT_CLEAR);
        }
        if (worker < workers)
            team.kernel(team.args, worker, workers);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        wait_for_event(BARRIER_WAIT_CLEAR);
        if (worker == 0)
            REGISTER32(INTERRUPT_STATUS_SET) = DONE_INTERRUPT;
    }
}

/* Cycles of the controller. The rate is not the chip's 50 MHz but about what is simulated in a second, so
 * that signs of life come in the host's time. */
const uint32_t mct_ticks_per_second = 2000000;

uint32_t mct_ticks(void) {
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles)::"memory");
    return cycles;
}

void mct_cluster_start(void);

void mct_board_start(void) {
    REGISTER32(INTERRUPT_MASK_SET) = DONE_INTERRUPT;
    REGISTER32(CACHE_ENABLE) = 1;
    REGISTER32(CLUSTER_CACHE_ENABLE) = 1;
    for (uint32_t core = 0; core < mct_workers; core++)
        REGISTER32(CLUSTER_BOOT_ADDRESS + 4 * core) = (uint32_t)(uintptr_t)mct_cluster_start;
    REGISTER32(CLUSTER_FETCH_ENABLE) = all_workers();
    mct_link_start();
}

_Noreturn void mct_finish(uint32_t status) {
    REGISTER32(EXIT_STATUS) = EXIT_NOW | status;
    for (;;)
        wait_for_interrupt();
}

void mct_board_end(void) {
    mct_finish(0);
}
