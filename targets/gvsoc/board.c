/* pulp-open: the controller runs the protocol, cluster cores 0 to 7 are the workers. The ninth sleeps. */
#include "board.h"
#include "cluster.h"
#include "link.h"
#include "mct_model.h"
#include "profile.h"
#include "simulated.h"
#include "work.h"

enum { START_EVENT = 0, DONE_INTERRUPT = 1 };

enum { CALLS = 2, ARGUMENT_WORDS = 62 };

/* What the workers are to run: call i is in place i modulo CALLS. */
static struct {
    volatile uint32_t posted, done; /* number of calls */
    struct call {
        mct_kernel kernel;
        const void *args;
        uint32_t workers;
        uint32_t *counts; /* where the workers write what they counted, or null */
        uint32_t arguments[ARGUMENT_WORDS];
    } calls[CALLS];
} team __attribute__((section(".l1")));

/* Cycles for which each cluster core has waited for transfers. */
static uint32_t waited_for_dma[CLUSTER_CORES] __attribute__((section(".l1")));

/* Calls that the controller has posted; the next one when it has begun, or its arguments are in place. */
static uint32_t posted;
static const struct mct_call *begun, *prepared;

static uint32_t all_workers(void) {
    return (1u << mct_workers) - 1;
}

/* All workers are woken and meet at the barrier again, so that it need not be set up anew when the host
 * asks for fewer. */
static void post(mct_kernel kernel, const void *args) {
    struct call *call = &team.calls[posted % CALLS];
    call->kernel = kernel;
    call->args = args;
    call->workers = mct_active_workers;
    call->counts = mct_profile_counts;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    team.posted = ++posted;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    REGISTER32(CLUSTER_TRIGGER_EVENT + 4 * START_EVENT) = all_workers();
}

static bool is_done(uint32_t number) {
    return (int32_t)(team.done - number) >= 0;
}

/* Until the workers are done with so many calls: the cycles in which transfers were under way, looked at
 * every few tens of cycles. */
static uint32_t watch_transfers(uint32_t number) {
    uint32_t busy = 0, before = READ_CSR(mcycle);
    while (!is_done(number)) {
        bool under_way = REGISTER32(CLUSTER_DMA_STATUS) & DMA_UNDER_WAY;
        uint32_t now = READ_CSR(mcycle);
        if (under_way)
            busy += now - before;
        before = now;
    }
    return busy;
}

/* The controller sleeps meanwhile; its interrupts are disabled, which ends wfi all the same. One that comes
 * between the test and wfi is pending then. */
static void wait_until_done(uint32_t number) {
    if (mct_profile_counts)
        *mct_profile_transfers = watch_transfers(number);
    for (;;) {
        REGISTER32(INTERRUPT_STATUS_CLEAR) = DONE_INTERRUPT;
        if (is_done(number))
            break;
        wait_for_interrupt();
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void mct_team_run(mct_kernel kernel, const void *args) {
    post(kernel, args);
    wait_until_done(posted);
}

/* Arguments that are in L1 when a kernel begins take all its workers a cycle a word, from L2 fifteen. The
 * place is that of the call before the one that runs. */
static const void *bring_arguments(const struct mct_call *call) {
    uint32_t *to = team.calls[posted % CALLS].arguments;
    const uint32_t *from = call->args;
    if (call->bytes == 0 || call->bytes > ARGUMENT_WORDS * sizeof *to)
        return call->args;
    for (uint32_t i = 0; i < call->bytes / sizeof *to; i++)
        to[i] = from[i];
    return to;
}

/* While it is counted what calls take, none begins before the one before it is seen to be done. */
void mct_team_run_call(const struct mct_call *call, const struct mct_call *next) {
    static const void *arguments; /* of `prepared` */
    if (begun != call)
        post(call->kernel, prepared == call ? arguments : call->args);
    const uint32_t number = posted;
    begun = prepared = 0;
    if (next) {
        arguments = bring_arguments(next);
        if (mct_profile_counts) {
            prepared = next;
        } else {
            begun = next;
            post(next->kernel, arguments);
        }
    }
    wait_until_done(number);
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
static __attribute__((noinline)) void run_counted(const struct call *call, uint32_t worker) {
    uint32_t *counts = call->counts + worker * mct_profile_board.count;
    WRITE_CSR(COUNTED_EVENTS, -1);
    WRITE_CSR(ALL_COUNTERS, 0);
    waited_for_dma[worker] = 0;
    WRITE_CSR(COUNTING, 1);
    uint32_t begin = READ_CSR(mcycle);
    call->kernel(call->args, worker, call->workers);
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

/* Until there is another call than the `number` before. A core waits either for the start or at the barrier,
 * with the mask of that event alone: one that comes early stays pending, and wakes nobody from the other. */
static __attribute__((noinline)) void wait_for_call(uint32_t number) {
    REGISTER32(EVENT_MASK) = 1 << START_EVENT;
    while (team.posted == number)
        wait_for_event(EVENT_WAIT_CLEAR);
    REGISTER32(EVENT_MASK) = BARRIER_EVENT;
}

/* The kernels' barrier is for other workers than at the last call. */
static __attribute__((noinline)) void change_workers(uint32_t worker, uint32_t workers) {
    if (worker == 0)
        set_kernel_barrier(workers);
    wait_for_event(BARRIER_WAIT_CLEAR);
}

/* From start.S, on cluster cores. What stands between two calls is short, because none of it is in the
 * instruction cache any more. */
_Noreturn void mct_worker(uint32_t worker);
_Noreturn void mct_worker(uint32_t worker) {
    uint32_t workers = 0;
    if (worker == 0) {
        /* in this order: a barrier of no cores is reached at once */
        REGISTER32(BARRIER_CORES) = all_workers();
        REGISTER32(BARRIER_TARGETS) = all_workers();
    }
    REGISTER32(EVENT_MASK) = BARRIER_EVENT;
    for (uint32_t number = 0;; number++) {
        if (team.posted == number)
            wait_for_call(number);
        const struct call *call = &team.calls[number % CALLS];
        if (call->workers != workers) {
            workers = call->workers;
            change_workers(worker, workers);
        }
        if (worker < workers) {
            if (call->counts)
                run_counted(call, worker);
            else
                call->kernel(call->args, worker, workers);
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        wait_for_event(BARRIER_WAIT_CLEAR);
        if (worker == mct_workers - 1) {
            team.done = number + 1;
            REGISTER32(INTERRUPT_STATUS_SET) = DONE_INTERRUPT;
        }
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
    team.posted = team.done = 0; /* nothing clears L1 */
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
