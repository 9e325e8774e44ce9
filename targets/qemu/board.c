/* QEMU virt: hart 0 is the controller, harts 1 to 8 are workers 0 to 7. */
#include "board.h"
#include "link.h"
#include "mct_model.h"
#include "profile.h"

enum { MOST_WORKERS = 8 };

static struct {
    mct_kernel kernel;
    const void *args;
    uint32_t running; /* workers that have not finished yet */
} team;

/* All harts sleep when they have nothing to do, woken by software interrupts that stay pending until they
 * are cleared, so that none is lost between a test and wfi: interrupts are disabled there, which ends wfi
 * all the same. */
void mct_team_run(mct_kernel kernel, const void *args) {
    uint32_t workers = mct_active_workers < MOST_WORKERS ? mct_active_workers : MOST_WORKERS;
    team.kernel = kernel;
    team.args = args;
    __atomic_store_n(&team.running, workers, __ATOMIC_SEQ_CST);
    for (uint32_t hart = 1; hart <= workers; hart++)
        REGISTER32(CLINT + 4 * hart) = 1;
    uint32_t enabled = disable_interrupts();
    while (__atomic_load_n(&team.running, __ATOMIC_SEQ_CST)) {
        wait_for_interrupt();
        restore_interrupts(enabled);
        disable_interrupts();
    }
    REGISTER32(CLINT) = 0;
    restore_interrupts(enabled);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* From start.S, on harts 1 to 8, at their first software interrupt. */
_Noreturn void mct_worker(uint32_t hart);
_Noreturn void mct_worker(uint32_t hart) {
    for (;;) {
        while (!REGISTER32(CLINT + 4 * hart))
            wait_for_interrupt();
        REGISTER32(CLINT + 4 * hart) = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        uint32_t begin = mct_profile_counts ? mct_profile_clock() : 0;
        team.kernel(team.args, hart - 1, mct_active_workers);
        if (mct_profile_counts) {
            uint32_t *counts = mct_profile_counts + (hart - 1) * mct_profile_board.count;
            counts[0] = begin;
            counts[1] = mct_profile_clock();
        }
        if (__atomic_sub_fetch(&team.running, 1, __ATOMIC_SEQ_CST) == 0)
            REGISTER32(CLINT) = 1;
    }
}

/* From start.S, on hart 0 when interrupts are enabled. The software interrupt has done its work by ending
 * wfi. */
void mct_interrupt(void);
void mct_interrupt(void) {
    REGISTER32(CLINT) = 0;
    mct_link_interrupt();
}

/* Ticks of mtime: its low half is enough for differences. */
const uint32_t mct_ticks_per_second = 10000000;

uint32_t mct_ticks(void) {
    return REGISTER32(CLINT_TIME);
}

/* QEMU has no model of time: this clock follows the host's. */
const struct mct_profile_board mct_profile_board = {10000000, 2, {MCT_COUNT_BEGIN, MCT_COUNT_END}};

uint32_t mct_profile_clock(void) {
    return mct_ticks();
}

uint32_t *mct_profile_memory(uint32_t *bytes) {
    static uint32_t log[1 << 14];
    *bytes = sizeof log;
    return log;
}

void mct_board_start(void) {
    SET_CSR(mie, SOFTWARE_INTERRUPT);
    mct_link_start();
}

_Noreturn void mct_finish(uint32_t status) {
    REGISTER32(FINISHER) = status ? status << 16 | 0x3333 : 0x5555;
    for (;;)
        wait_for_interrupt();
}

void mct_board_end(void) {
    mct_finish(0);
}
