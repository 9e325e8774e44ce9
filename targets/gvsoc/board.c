/* pulp-open: the controller runs the protocol, cluster cores 0 to 7 are the workers. The ninth sleeps. */
#include "board.h"
#include "cluster.h"
#include "link.h"
#include "mct_model.h"
#include "profile.h"
#include "simulated.h"
#include "work.h"

enum { START_EVENT = 0, DONE_INTERRUPT = 1 };

static struct {
    mct_kernel kernel;
    const void *args;
    uint32_t workers;
    uint32_t *counts; /* where the workers write what they counted, or null */
} team __attribute__((section(".l1")));

/* Cycles for which each cluster core has waited for transfers. */
static uint32_t waited_for_dma[CLUSTER_CORES] __attribute__((section(".l1")));

static uint32_t all_workers(void) {
    return (1u << mct_workers) - 1;
}

/* Until the workers are done: the cycles in which transfers were under way, looked at every few tens of
 * cycles. */
static uint32_t watch_transfers(void) {
    uint32_t busy = 0, before = READ_CSR(mcycle);
    while (!(REGISTER32(INTERRUPT_STATUS) & DONE_INTERRUPT)) {
        bool under_way = REGISTER32(CLUSTER_DMA_STATUS) & DMA_UNDER_WAY;
        uint32_t now = READ_CSR(mcycle);
        if (under_way)
            busy += now - before;
        before = now;
    }
    return busy;
}

/* All workers are woken and meet at the barrier again, so that it need not be set up anew when the host
 * asks for fewer. The controller sleeps meanwhile; its interrupts are disabled, which ends wfi all the
 * same. */
void mct_team_run(mct_kernel kernel, const void *args) {
    team.kernel = kernel;
    team.args = args;
    team.workers = mct_active_workers;
    team.counts = mct_profile_counts;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    REGISTER32(CLUSTER_TRIGGER_EVENT + 4 * START_EVENT) = all_workers();
    if (mct_profile_counts)
        *mct_profile_transfers = watch_transfers();
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

static uint32_t this_core(void) {
    return READ_CSR(mhartid) & 31;
}

/* Counting costs nothing where there is nothing to wait for. */
static __attribute__((noinline)) void wait_for_transfers(uint32_t group) {
    uint32_t began = READ_CSR(mcycle), *waited = waited_for_dma + this_core();
    while (REGISTER32(DMA_STATUS) & 1u << group)
        ;
    *waited += READ_CSR(mcycle) - began;
}

/* Its event stays masked: one that is pending would end the wait at a barrier. */
void mct_dma_wait(uint32_t group) {
    if (REGISTER32(DMA_STATUS) & 1u << group)
        wait_for_transfers(group);
    REGISTER32(DMA_STATUS) = 1u << group;
}

/* ---- counters --------------------------------------------------------------------------------------- */

const struct mct_profile_board mct_profile_board = {
    0,
    8,
    {MCT_COUNT_BEGIN, MCT_COUNT_END, MCT_COUNT_BARRIER, MCT_COUNT_DMA, MCT_COUNT_INSTRUCTIONS,
     MCT_COUNT_LOAD_STALLS, MCT_COUNT_FETCH_STALLS, MCT_COUNT_FPU_STALLS},
};

uint32_t mct_profile_clock(void) {
    return READ_CSR(mcycle);
}

extern uint8_t log_start[], log_end[]; /* from link.ld */

uint32_t *mct_profile_memory(uint32_t *bytes) {
    *bytes = (uint32_t)(log_end - log_start);
    return (uint32_t *)(void *)log_start;
}

/* A core sleeps at barriers, and counter 0 with it. */
static void run_counted(uint32_t worker, uint32_t workers) {
    uint32_t *counts = team.counts + worker * mct_profile_board.count;
    WRITE_CSR(COUNTED_EVENTS, -1);
    WRITE_CSR(ALL_COUNTERS, 0);
    waited_for_dma[worker] = 0;
    WRITE_CSR(COUNTING, 1);
    uint32_t begin = READ_CSR(mcycle);
    team.kernel(team.args, worker, workers);
    uint32_t end = READ_CSR(mcycle);
    WRITE_CSR(COUNTING, 0);
    uint32_t awake = READ_CSR(COUNTER(0));
    counts[0] = begin;
    counts[1] = end;
    counts[2] = end - begin > awake ? end - begin - awake : 0;
    counts[3] = waited_for_dma[worker];
    counts[4] = READ_CSR(COUNTER(1));
    counts[5] = READ_CSR(COUNTER(2));
    counts[6] = READ_CSR(COUNTER(4));
    counts[7] = READ_CSR(COUNTER(18));
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
        if (worker < workers && team.counts)
            run_counted(worker, workers);
        else if (worker < workers)
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
    return READ_CSR(mcycle);
}

uint32_t mct_work_rate(void) {
    return 0;
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
