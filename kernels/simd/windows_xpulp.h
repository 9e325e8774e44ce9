/* Zeros, and copies of small pieces within L1, in PULP's instructions. */
#ifndef MCT_WINDOWS_XPULP_H
#define MCT_WINDOWS_XPULP_H

#include "simd.h"

/* to = from, `words` > 0 words, that may be misaligned. */
MCT_INLINE void mct_x_copy(mct_elem *to, const mct_elem *from, uint32_t words) {
    uint32_t t;
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".insn i 0x7b, 4, x0, %[words], 4\n\t" /* lp.setup: the next two, words times */
                     ".insn i 0x0b, 2, %[t], 4(%[from])\n\t"
                     ".insn s 0x2b, 2, %[t], 4(%[to])\n\t"
                     ".option pop"
                     : [t] "=&r"(t), [to] "+r"(to), [from] "+r"(from)
                     : [words] "r"(words)
                     : "memory");
}

/* The window at `from`, of `rows` rows of `row` elements that are `step` elements apart, as one line. An odd
 * row is copied with the element behind it, which the next row replaces, so that one is written behind the
 * line. */
MCT_INLINE void mct_x_window(mct_elem *to, const mct_elem *from, uint32_t rows, uint32_t row, uint32_t step) {
    uint32_t t;
    const mct_elem *at;
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".insn i 0x7b, 4, x1, %[rows], 14\n\t" /* lp.setup: the next seven, rows times */
                     "mv %[at], %[from]\n\t"
                     ".insn i 0x7b, 4, x0, %[words], 4\n\t" /* the next two, words times */
                     ".insn i 0x0b, 2, %[t], 4(%[at])\n\t"
                     ".insn s 0x2b, 2, %[t], 4(%[to])\n\t"
                     "add %[from], %[from], %[step]\n\t"
                     "sub %[to], %[to], %[over]\n\t"
                     /* pv.max.h that changes nothing: loops end on instructions that an emulation sees */
                     ".insn r 0x57, 0, 0x18, %[to], %[to], %[to]\n\t"
                     ".option pop"
                     : [t] "=&r"(t), [at] "=&r"(at), [to] "+r"(to), [from] "+r"(from)
                     : [rows] "r"(rows), [words] "r"((row + 1) / 2), [step] "r"(step * sizeof(mct_elem)),
                       [over] "r"(row % 2 * sizeof(mct_elem))
                     : "memory");
}

/* Zeros in `words` words, rounded up to even. */
MCT_INLINE void mct_x_zero(void *to, uint32_t words) {
    uint32_t twice = (words + 1) / 2;
    if (twice)
        __asm__ volatile(".option push\n\t"
                         ".option norvc\n\t"
                         ".insn i 0x7b, 4, x0, %[twice], 4\n\t"
                         ".insn s 0x2b, 2, x0, 4(%[to])\n\t"
                         ".insn s 0x2b, 2, x0, 4(%[to])\n\t"
                         ".option pop"
                         : [to] "+r"(to)
                         : [twice] "r"(twice)
                         : "memory");
}

#endif
