/* Texts of PULP's instructions for asm statements, whose operands are given by their names. */
#ifndef MCT_ASSEMBLY_XPULP_H
#define MCT_ASSEMBLY_XPULP_H

#include "simd.h"

/* vfdotpex.s.h; the sum is a number or "[name]" */
#define MCT_X_DOT(sum, x, y) MCT_XPULP_DOT("%" sum, "%[" x "]", "%[" y "]")
/* p.lw, then from += by, or 4 */
#define MCT_X_LOAD(to, from, by) ".insn r 0x0b, 7, 0x10, %[" to "], %[" from "], %[" by "]\n\t"
#define MCT_X_LOAD4(to, from) ".insn i 0x0b, 2, %[" to "], 4(%[" from "])\n\t"
/* p.sw, then to += 4 */
#define MCT_X_STORE4(value, to) ".insn s 0x2b, 2, %[" value "], 4(%[" to "])\n\t"
/* pv.pack.h: the low halves of two words */
#define MCT_X_PACK(to, high, low) ".insn r 0x57, 0, 0x68, %[" to "], %[" high "], %[" low "]\n\t"
/* pv.shuffle2.h: their high halves, in place of the word `low`; operand `select` is 0x00030001 */
#define MCT_X_HIGH(low, high) ".insn r 0x57, 0, 0x64, %[" low "], %[" high "], %[select]\n\t"
/* vfcpka.h.s: two of binary32 as a pair of binary16 */
#define MCT_X_NARROW(to, low, high) ".insn r 0x33, 2, 0x58, %[" to "], %[" low "], %[" high "]\n\t"

#endif
