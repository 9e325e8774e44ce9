/* Calls to the host of a simulated RISC-V board. */
#ifndef MCT_SEMIHOSTING_H
#define MCT_SEMIHOSTING_H

#include <stdint.h>

enum {
    SYS_OPEN = 1,
    SYS_WRITE = 5, /* returns the number of bytes NOT transferred, as SYS_READ does */
    SYS_READ = 6,
    SYS_SEEK = 10,
    READ_WRITE = 2, /* mode of SYS_OPEN */
};

/* The sequence that marks a semihosting call must be uncompressed and within one page. */
static inline long mct_semihost(long operation, const uintptr_t *arguments) {
    register long result __asm__("a0") = operation;
    register const uintptr_t *block __asm__("a1") = arguments;
    __asm__ volatile(".balign 16\n\t"
                     ".option push\n\t"
                     ".option norvc\n\t"
                     "slli zero, zero, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai zero, zero, 7\n\t"
                     ".option pop"
                     : "+r"(result)
                     : "r"(block)
                     : "memory");
    return result;
}

#endif
