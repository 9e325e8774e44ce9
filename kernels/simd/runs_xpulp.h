/* What simd/runs.h promises, in PULP's instructions. With binary32 one element takes the place of a pair, and
 * a fused multiply-add that of a dot.
 *
 * A pair takes 16 dots and 8 loads, spread so that two cores that share a floating-point unit get in
 * each other's way as little as possible; the operands of the next pair are loaded meanwhile, after a run's
 * last one to no purpose. Two hardware loops are nested, over runs and over pairs. All of it is written
 * by hand, because it takes every register there is:
 *
 *   sums s0 ... s11, ra, t3, t4, t5     a a2, its steps a6 and a7     operands t0, t1, t2, t6
 *   pairs of a run gp, skips tp         b a3, its steps a0 and a1              a4, a5
 *
 * sp is the structure, so that its fields are near at hand: no interrupt reaches a worker. A block's loop is
 * to fit 512 bytes, the instruction cache that a core has to itself. */
#ifndef MCT_RUNS_XPULP_H
#define MCT_RUNS_XPULP_H

#include "runs.h"

MCT_INLINE uint32_t mct_run_pairs(uint32_t elements) {
    return elements * sizeof(mct_elem) / 4;
}

MCT_INLINE int32_t mct_run_back(int32_t step) {
    return 4 - 3 * step;
}

/* The last pair reads a pair ahead. */
MCT_INLINE int32_t mct_skip_a(int32_t bytes) {
    return bytes - 4;
}

/* Of b one row ahead. */
MCT_INLINE int32_t mct_skip_b(int32_t bytes, int32_t b_step) {
    return bytes - b_step;
}

/* clang-format off */
#if MCT_ELEM == 16
#define MCT_DOT(sum, x, y) ".insn r 0x33, 0, 0x4b, " #sum ", " #x ", " #y "\n\t"
#define MCT_BLOCK_BYTES "8"
#else
#define MCT_DOT(sum, x, y) "fmadd.s " #sum ", " #x ", " #y ", " #sum "\n\t"
#define MCT_BLOCK_BYTES "16"
#endif
#define MCT_LOAD(to, from, by) ".insn r 0x0b, 7, 0x10, " #to ", " #from ", " #by "\n\t"
#define MCT_NEXT(to, from) ".insn i 0x0b, 2, " #to ", 4(" #from ")\n\t"
#define MCT_SAVED(op, at)                                                                                    \
    #op " ra, 60(" #at ")\n\t" #op " s0, 64(" #at ")\n\t" #op " s1, 68(" #at ")\n\t"                         \
    #op " s2, 72(" #at ")\n\t" #op " s3, 76(" #at ")\n\t" #op " s4, 80(" #at ")\n\t"                         \
    #op " s5, 84(" #at ")\n\t" #op " s6, 88(" #at ")\n\t" #op " s7, 92(" #at ")\n\t"                         \
    #op " s8, 96(" #at ")\n\t" #op " s9, 100(" #at ")\n\t" #op " s10, 104(" #at ")\n\t"                      \
    #op " s11, 108(" #at ")\n\t" #op " gp, 112(" #at ")\n\t" #op " tp, 116(" #at ")\n\t"
#define MCT_ENTER                                                                                            \
    MCT_SAVED(sw, a0)                                                                                        \
    "sw sp, 120(a0)\n\t"                                                                                     \
    "mv sp, a0\n\t"                                                                                          \
    "lw a6, 8(sp)\n\t"                                                                                       \
    "lw a0, 12(sp)\n\t"                                                                                      \
    "lw a7, 16(sp)\n\t"                                                                                      \
    "lw a1, 20(sp)\n\t"                                                                                      \
    "lw gp, 24(sp)\n\t"                                                                                      \
    "lw a3, 4(sp)\n\t"
/* what each four rows begin with, and the next ones */
#define MCT_FIRST                                                                                            \
    "lw a4, 44(sp)\n\t"                                                                                      \
    "lw a5, 56(sp)\n\t"                                                                                      \
    "sw a3, 136(sp)\n\t"                                                                                     \
    "sw a4, 140(sp)\n\t"                                                                                     \
    "lw a4, 124(sp)\n\t"                                                                                     \
    "sw a5, 144(sp)\n\t"                                                                                     \
    "sw a4, 148(sp)\n\t"
#define MCT_NEXT_QUAD                                                                                        \
    "lw a5, 148(sp)\n\t"                                                                                     \
    "lw a4, 0(sp)\n\t"                                                                                       \
    "lw a3, 128(sp)\n\t"                                                                                     \
    "addi a5, a5, -1\n\t"                                                                                    \
    "sw a5, 148(sp)\n\t"                                                                                     \
    "add a4, a4, a3\n\t"                                                                                     \
    "sw a4, 0(sp)\n\t"                                                                                       \
    "lw a4, 36(sp)\n\t"                                                                                      \
    "lw a3, 132(sp)\n\t"                                                                                     \
    "add a4, a4, a3\n\t"                                                                                     \
    "sw a4, 36(sp)\n\t"                                                                                      \
    "lw a4, 140(sp)\n\t"                                                                                     \
    "lw a3, 136(sp)\n\t"                                                                                     \
    "sw a4, 44(sp)\n\t"                                                                                      \
    "lw a4, 144(sp)\n\t"                                                                                     \
    "sw a3, 4(sp)\n\t"                                                                                       \
    "sw a4, 56(sp)\n\t"                                                                                      \
    "bnez a5, 1b\n\t"
#define MCT_LEAVE MCT_SAVED(lw, sp) "lw sp, 120(sp)\n\t" "ret\n\t"
#define MCT_BEGIN                                                                                            \
    "lw a2, 0(sp)\n\t"                                                                                       \
    "lw tp, 28(sp)\n\t"                                                                                      \
    "lw a5, 32(sp)\n\t"
#define MCT_ZERO                                                                                             \
    "li s0, 0\n\tli s1, 0\n\tli s2, 0\n\tli s3, 0\n\tli s4, 0\n\tli s5, 0\n\tli s6, 0\n\tli s7, 0\n\t"       \
    "li s8, 0\n\tli s9, 0\n\tli s10, 0\n\tli s11, 0\n\tli ra, 0\n\tli t3, 0\n\tli t4, 0\n\tli t5, 0\n\t"
#define MCT_LOAD_A MCT_LOAD(t0, a2, a6) MCT_LOAD(t1, a2, a6) MCT_LOAD(t2, a2, a6) MCT_LOAD(t6, a2, a7)
#define MCT_LOAD_B MCT_LOAD(a4, a3, a0)
#define MCT_PAIRS                                                                                            \
    ".insn i 0x7b, 4, x0, gp, 48\n\t" /* lp.setup: the next 24 instructions */                               \
    MCT_DOT(s0, t0, a4) MCT_DOT(s4, t1, a4) MCT_LOAD(a5, a3, a0) MCT_DOT(s8, t2, a4)                         \
    MCT_DOT(ra, t6, a4) MCT_DOT(s1, t0, a5) MCT_DOT(s5, t1, a5) MCT_LOAD(a4, a3, a0)                         \
    MCT_DOT(s9, t2, a5) MCT_DOT(t3, t6, a5) MCT_DOT(s2, t0, a4) MCT_DOT(s6, t1, a4)                          \
    MCT_LOAD(a5, a3, a1) MCT_DOT(s10, t2, a4) MCT_DOT(s3, t0, a5) MCT_LOAD(t0, a2, a6)                       \
    MCT_DOT(s7, t1, a5) MCT_LOAD(t1, a2, a6) MCT_DOT(s11, t2, a5) MCT_LOAD(t2, a2, a6)                       \
    MCT_DOT(t4, t6, a4) MCT_LOAD(a4, a3, a0) MCT_DOT(t5, t6, a5) MCT_LOAD(t6, a2, a7)
#define MCT_NORVC ".option push\n\t.option norvc\n\t"
#define MCT_RVC ".option pop\n\t"
/* lp.setup, over all runs: 31 instructions, b goes on */
#define MCT_RUNS_ON                                                                                          \
    MCT_NORVC MCT_LOAD_A MCT_LOAD_B                                                                          \
    ".insn i 0x7b, 4, x1, a5, 62\n\t"                                                                        \
    MCT_PAIRS MCT_NEXT(a5, tp) "add a2, a2, a5\n\t" MCT_LOAD_A MCT_RVC
/* 34 instructions, both skip */
#define MCT_RUNS_APART                                                                                       \
    MCT_NORVC MCT_NEXT(a4, tp)                                                                               \
    ".insn i 0x7b, 4, x1, a5, 68\n\t"                                                                        \
    MCT_NEXT(a5, tp) "add a2, a2, a4\n\t" "add a3, a3, a5\n\t" MCT_LOAD_A MCT_LOAD_B MCT_PAIRS               \
    MCT_NEXT(a4, tp) MCT_RVC
/* 27 instructions, a goes on */
#define MCT_RUNS_SUMS                                                                                        \
    MCT_NORVC MCT_LOAD_A MCT_LOAD_B                                                                          \
    ".insn i 0x7b, 4, x1, a5, 54\n\t"                                                                        \
    MCT_PAIRS "add a3, a3, tp\n\t" MCT_LOAD_B MCT_RVC
/* to the next block, if there is one */
#define MCT_END                                                                                              \
    "lw a3, 4(sp)\n\t"                                                                                       \
    "lw a4, 52(sp)\n\t"                                                                                      \
    "lw a5, 56(sp)\n\t"                                                                                      \
    "add a3, a3, a4\n\t"                                                                                     \
    "addi a5, a5, -1\n\t"                                                                                    \
    "sw a3, 4(sp)\n\t"                                                                                       \
    "sw a5, 56(sp)\n\t"                                                                                      \
    "bnez a5, 1b\n\t"
#define MCT_PACK(to, low, high) ".insn r 0x33, 2, 0x58, " #to ", " #low ", " #high "\n\t" /* vfcpka.h.s */
#if MCT_ELEM == 16
#define MCT_MAX(a) ".insn r 0x57, 0, 0x18, " #a ", " #a ", tp\n\t" /* pv.max.h */
#else
#define MCT_MAX(a) ".insn r 0x33, 6, 0x02, " #a ", " #a ", tp\n\t" /* p.max */
#endif
#define MCT_ADD(a, b) "fadd.s " #a ", " #a ", " #b "\n\t"
#define MCT_Y                                                                                                \
    "lw a2, 36(sp)\n\t"                                                                                      \
    "lw a3, 40(sp)\n\t"                                                                                      \
    "addi a4, a2, " MCT_BLOCK_BYTES "\n\t"                                                                   \
    "sw a4, 36(sp)\n\t"
#if MCT_ELEM == 16
#define MCT_STORE_ROW(a, b, c, d)                                                                            \
    MCT_PACK(a4, a, b) MCT_PACK(a5, c, d) "sw a4, 0(a2)\n\t" "sw a5, 4(a2)\n\t" "add a2, a2, a3\n\t"
#define MCT_BIAS_ROW(a, b, c, d)                                                                             \
    MCT_ADD(a, t0) MCT_ADD(b, t1) MCT_ADD(c, t2) MCT_PACK(a4, a, b) MCT_ADD(d, t6) MCT_MAX(a4)               \
    "sw a4, 0(a2)\n\t" MCT_PACK(a5, c, d) MCT_MAX(a5) "sw a5, 4(a2)\n\t" "add a2, a2, a3\n\t"
#else
#define MCT_STORE_ROW(a, b, c, d)                                                                            \
    "sw " #a ", 0(a2)\n\tsw " #b ", 4(a2)\n\tsw " #c ", 8(a2)\n\tsw " #d ", 12(a2)\n\tadd a2, a2, a3\n\t"
#define MCT_BIAS_ROW(a, b, c, d)                                                                             \
    MCT_ADD(a, t0) MCT_MAX(a) MCT_ADD(b, t1) MCT_MAX(b) MCT_ADD(c, t2) MCT_MAX(c) MCT_ADD(d, t6) MCT_MAX(d)  \
    MCT_STORE_ROW(a, b, c, d)
#endif
#define MCT_STORE_PLAIN                                                                                      \
    MCT_Y MCT_STORE_ROW(s0, s1, s2, s3) MCT_STORE_ROW(s4, s5, s6, s7) MCT_STORE_ROW(s8, s9, s10, s11)        \
    MCT_STORE_ROW(ra, t3, t4, t5)
#define MCT_STORE_BIAS                                                                                       \
    "lw tp, 44(sp)\n\t"                                                                                      \
    MCT_NEXT(t0, tp) MCT_NEXT(t1, tp) MCT_NEXT(t2, tp) MCT_NEXT(t6, tp)                                      \
    "sw tp, 44(sp)\n\t"                                                                                      \
    "lw tp, 48(sp)\n\t"                                                                                      \
    MCT_Y MCT_BIAS_ROW(s0, s1, s2, s3) MCT_BIAS_ROW(s4, s5, s6, s7) MCT_BIAS_ROW(s8, s9, s10, s11)           \
    MCT_BIAS_ROW(ra, t3, t4, t5)
#define MCT_ROW(op, a, b, c, d)                                                                              \
    #op " " #a ", 0(a4)\n\t" #op " " #b ", 4(a4)\n\t" #op " " #c ", 8(a4)\n\t" #op " " #d ", 12(a4)\n\t"
/* the sums of a block, rows a1 apart from a4 on */
#define MCT_ROWS(op, step)                                                                                   \
    MCT_ROW(op, s0, s1, s2, s3) "add a4, a4, " #step "\n\t" MCT_ROW(op, s4, s5, s6, s7)                      \
    "add a4, a4, " #step "\n\t" MCT_ROW(op, s8, s9, s10, s11) "add a4, a4, " #step "\n\t"                    \
    MCT_ROW(op, ra, t3, t4, t5)

#define MCT_RUN_FUNCTION(name, argument, code)                                                               \
    static __attribute__((naked, noinline, unused, aligned(16))) void name(                                  \
        __attribute__((unused)) struct argument *k) {                                                        \
        __asm__(code);                                                                                       \
    }

#define MCT_BLOCKS(runs, store)                                                                              \
    MCT_ENTER MCT_FIRST "1:\n\t" MCT_BEGIN MCT_ZERO runs store MCT_END MCT_NEXT_QUAD MCT_LEAVE

MCT_RUN_FUNCTION(mct_run_blocks, mct_run_blocks, MCT_BLOCKS(MCT_RUNS_ON, MCT_STORE_BIAS))
MCT_RUN_FUNCTION(mct_run_plain, mct_run_blocks, MCT_BLOCKS(MCT_RUNS_ON, MCT_STORE_PLAIN))
MCT_RUN_FUNCTION(mct_run_apart, mct_run_blocks, MCT_BLOCKS(MCT_RUNS_APART, MCT_STORE_PLAIN))
MCT_RUN_FUNCTION(mct_run_sums, mct_run_sums,
                 MCT_ENTER "1:\n\t" MCT_BEGIN
                 "lw a4, 36(sp)\n\t"
                 "lw t0, 40(sp)\n\t"
                 MCT_ROWS(lw, t0) MCT_RUNS_SUMS
                 "lw a4, 36(sp)\n\t"
                 "lw t0, 40(sp)\n\t"
                 "addi a5, a4, 16\n\t"
                 "sw a5, 36(sp)\n\t"
                 MCT_ROWS(sw, t0) MCT_END MCT_LEAVE)
/* clang-format on */
#undef MCT_DOT
#undef MCT_LOAD
#undef MCT_NEXT
#undef MCT_SAVED
#undef MCT_ENTER
#undef MCT_LEAVE
#undef MCT_FIRST
#undef MCT_NEXT_QUAD
#undef MCT_BEGIN
#undef MCT_ZERO
#undef MCT_LOAD_A
#undef MCT_LOAD_B
#undef MCT_PAIRS
#undef MCT_NORVC
#undef MCT_RVC
#undef MCT_RUNS_ON
#undef MCT_RUNS_APART
#undef MCT_RUNS_SUMS
#undef MCT_END
#undef MCT_PACK
#undef MCT_MAX
#undef MCT_ADD
#undef MCT_Y
#undef MCT_BLOCK_BYTES
#undef MCT_STORE_ROW
#undef MCT_BIAS_ROW
#undef MCT_STORE_PLAIN
#undef MCT_STORE_BIAS
#undef MCT_ROW
#undef MCT_ROWS
#undef MCT_BLOCKS
#undef MCT_RUN_FUNCTION

#endif
