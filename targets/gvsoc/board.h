/* pulp-open: the registers this board uses. */
#ifndef MCT_BOARD_H
#define MCT_BOARD_H

#include <stdint.h>

enum {
    /* the controller's peripherals */
    EXIT_STATUS = 0x1a1040a0, /* ends the simulator when bit 31 is set */
    EXIT_NOW = 1u << 31,
    CACHE_ENABLE = 0x1a108800,       /* instruction cache */
    INTERRUPT_MASK_SET = 0x1a109804, /* the interrupt controller */
    INTERRUPT_STATUS_SET = 0x1a109810,
    INTERRUPT_STATUS_CLEAR = 0x1a109814,
    /* the cluster's, for everybody */
    CLUSTER_FETCH_ENABLE = 0x10200008,  /* one bit for each core */
    CLUSTER_BOOT_ADDRESS = 0x10200040,  /* of core i at + 4 i */
    CLUSTER_CACHE_ENABLE = 0x10201400,  /* instruction cache */
    CLUSTER_TRIGGER_EVENT = 0x10200e00, /* raise event e at + 4 e on a mask of cores */
    CLUSTER_DMA_STATUS = 0x10201804,
    CLUSTER_CORES = 9,
    /* the event unit as each cluster core sees it */
    EVENT_MASK = 0x10204000,
    EVENT_WAIT_CLEAR = 0x1020403c,
    BARRIER = 0x10204200, /* barrier 0 */
    BARRIER_CORES = BARRIER,
    BARRIER_TARGETS = BARRIER + 0xc,
    BARRIER_WAIT_CLEAR = BARRIER + 0x1c,
    BARRIER_EVENT = 1 << 16,
    KERNEL_BARRIER_CORES = BARRIER_CORES + 0x20, /* barrier 1 */
    KERNEL_BARRIER_TARGETS = BARRIER_TARGETS + 0x20,
    KERNEL_BARRIER_WAIT_CLEAR = BARRIER_WAIT_CLEAR + 0x20,
    /* its DMA */
    DMA = 0x10204400,
    DMA_STATUS = 0x10204404,
    DMA_UNDER_WAY = 0xffff, /* a bit for each group, whoever began it */
    DMA_TO_L1 = 1 << 17,
    DMA_LINEAR_L1 = 1 << 18,
    DMA_ROWS = 1 << 19,
};

/* a core's performance counters, by number */
#define COUNTED_EVENTS 0xcc0
#define COUNTING 0xcc1
#define COUNTER(i) 0x780 + i
#define ALL_COUNTERS 0x79f

#define TEXT_OF(csr) #csr
#define READ_CSR(csr)                                                                                        \
    ({                                                                                                       \
        uint32_t value_;                                                                                     \
        __asm__ volatile("csrr %0, " TEXT_OF(csr) : "=r"(value_)::"memory");                                 \
        value_;                                                                                              \
    })
#define WRITE_CSR(csr, value) __asm__ volatile("csrw " TEXT_OF(csr) ", %0" ::"r"(value) : "memory")

#define REGISTER32(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* p.elw: a load at which a cluster core sleeps until one of the events in its mask has come. */
static inline uint32_t wait_for_event(uint32_t address) {
    uint32_t events;
    __asm__ volatile(".insn i 0x03, 6, %0, 0(%1)" : "=r"(events) : "r"(address) : "memory");
    return events;
}

static inline void wait_for_interrupt(void) {
    __asm__ volatile("wfi" ::: "memory");
}

#endif
