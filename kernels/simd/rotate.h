/* Rotation of a word: one of PULP's instructions, and of RISC-V's own three where there is no Zbb. */
#ifndef MCT_SIMD_ROTATE_H
#define MCT_SIMD_ROTATE_H

#include <stdint.h>

/* To the right, by 1 to 31. */
static inline uint32_t mct_rotate(uint32_t word, uint32_t by) {
#ifdef MCT_XPULP
    uint32_t rotated;
    __asm__(".insn r 0x33, 5, 0x04, %0, %1, %2" : "=r"(rotated) : "r"(word), "r"(by));
    return rotated;
#else
    return word >> by | word << (32 - by);
#endif
}

#endif
