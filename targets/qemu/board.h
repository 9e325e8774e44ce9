/* QEMU virt: what the parts of this board share. */
#ifndef MCT_BOARD_H
#define MCT_BOARD_H

#include <stdint.h>

#include "simulated.h"

enum {
    CLINT = 0x2000000,         /* software interrupt of hart h at + 4 h */
    CLINT_COMPARE = 0x2004000, /* time at which hart 0 gets a timer interrupt, 64 bits */
    CLINT_TIME = 0x200bff8,    /* 10 MHz, 64 bits */
    PLIC = 0xc000000,
    UART = 0x10000000,
    FINISHER = 0x100000,
    SOFTWARE_INTERRUPT = 1 << 3, /* bits of mie and mip */
    TIMER_INTERRUPT = 1 << 7,
    EXTERNAL_INTERRUPT = 1 << 11,
    INTERRUPTS_ENABLED = 1 << 3, /* bit of mstatus */
};

#define REGISTER32(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define REGISTER8(address) (*(volatile uint8_t *)(uintptr_t)(address))
#define SET_CSR(csr, bits) __asm__ volatile("csrs " #csr ", %0" ::"r"(bits) : "memory")
#define CLEAR_CSR(csr, bits) __asm__ volatile("csrc " #csr ", %0" ::"r"(bits) : "memory")

/* Disable interrupts of this hart; returns what restore_interrupts takes. */
static inline uint32_t disable_interrupts(void) {
    uint32_t before;
    __asm__ volatile("csrrci %0, mstatus, 8" : "=r"(before)::"memory");
    return before & INTERRUPTS_ENABLED;
}

static inline void restore_interrupts(uint32_t before) {
    SET_CSR(mstatus, before);
}

static inline void wait_for_interrupt(void) {
    __asm__ volatile("wfi" ::: "memory");
}

/* From the link over the UART: what it does at an interrupt. Semihosting raises none. */
void mct_link_interrupt(void);

#endif
