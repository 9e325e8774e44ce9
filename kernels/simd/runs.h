/* Blocks of sixteen dot products over operands that lie in several places: what a window meets in a tile.
 *
 * A list of runs ends with one of no pairs. Before each run the two pointers skip some bytes, from where the
 * run before has ended. */
#ifndef MCT_SIMD_RUNS_H
#define MCT_SIMD_RUNS_H

#include "simd.h"

struct mct_run_step {
    int32_t a_skip, b_skip; /* bytes */
    uint32_t pairs;
};

/* Four rows of a by 4 * `blocks` rows of b: y[r][c] = max(sum over all pairs of a[r] * b[c], + bias[c]), one
 * rounding, or with `relu` 0 in place of what is less. Steps are in bytes, from one row to the next, those
 * called back from the last row to the next pair of the first. The call changes b, y, bias and blocks. */
struct mct_run_blocks {
    const mct_elem *a, *b;
    int32_t a_step, b_step, a_back, b_back;
    const struct mct_run_step *runs;
    const float *bias;
    mct_elem *y;
    int32_t y_step;
    uint32_t relu;  /* 0: yes, 0x80008000: no */
    int32_t b_next; /* from one block to the next */
    uint32_t blocks;
};

/* y_out[4 r + c] = y_in[4 r + c] + the sum over all pairs, rows y_step apart, for blocks of four columns. */
struct mct_run_sums {
    const mct_elem *a, *b;
    int32_t a_step, b_step, a_back, b_back;
    const struct mct_run_step *runs;
    float *acc;
    int32_t acc_step;
    int32_t b_next;
    uint32_t blocks;
};

MCT_INLINE int32_t mct_run_back(int32_t step) {
    return 2 * (int32_t)sizeof(mct_elem) - 3 * step;
}

/* to[0], to[1] = p[0], q[0] and to[next], to[next + 1] = p[1], q[1] */
MCT_INLINE void mct_turn_2x2(mct_elem *to, uint32_t next, const mct_elem *p, const mct_elem *q) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    uint32_t low = mct_xpulp_word(p), high = mct_xpulp_word(q);
    mct_xpulp_store(to, mct_xpulp_pack(high, low));
    mct_xpulp_store(to + next, mct_xpulp_pack_high(high, low));
#else
    to[0] = p[0];
    to[1] = q[0];
    to[next] = p[1];
    to[next + 1] = q[1];
#endif
}

/* The same from binary32, each rounded once. */
MCT_INLINE void mct_narrow_2x2(mct_elem *to, uint32_t next, const float *p, const float *q) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    uint32_t first, second;
    MCT_XPULP_OP(0x33, 2, 0x58, first, p[0], q[0]);
    MCT_XPULP_OP(0x33, 2, 0x58, second, p[1], q[1]);
    mct_xpulp_store(to, first);
    mct_xpulp_store(to + next, second);
#else
    to[0] = mct_narrow(p[0]);
    to[1] = mct_narrow(q[0]);
    to[next] = mct_narrow(p[1]);
    to[next + 1] = mct_narrow(q[1]);
#endif
}

#if defined(MCT_XPULP) && MCT_ELEM == 16
/* A pair takes 16 dots and 8 loads, spread so that two cores that share a floating-point unit get in
 * each other's way as little as possible; the operands of the next pair are loaded meanwhile. They take
 * every register there is, so all of it is written by hand:
 *
 *   sums s0 ... s11, ra, t3, t4, t5     a a1, its steps a2 and a6     operands t0, t1, t2, t6
 *                                       b a3, its steps a4 and a7              a0, a5
 *
 * The first 28 bytes of both structures are the same. */
/* clang-format off */
#define MCT_DOT(sum, x, y) ".insn r 0x33, 0, 0x4b, " #sum ", " #x ", " #y "\n\t"
#define MCT_LOAD(to, from, by) ".insn r 0x0b, 7, 0x10, " #to ", " #from ", " #by "\n\t"
#define MCT_SAVED(op)                                                                                        \
    #op " s0, 8(sp)\n\t" #op " s1, 12(sp)\n\t" #op " s2, 16(sp)\n\t" #op " s3, 20(sp)\n\t"                    \
    #op " s4, 24(sp)\n\t" #op " s5, 28(sp)\n\t" #op " s6, 32(sp)\n\t" #op " s7, 36(sp)\n\t"                   \
    #op " s8, 40(sp)\n\t" #op " s9, 44(sp)\n\t" #op " s10, 48(sp)\n\t" #op " s11, 52(sp)\n\t"                 \
    #op " ra, 56(sp)\n\t"
#define MCT_ENTER "addi sp, sp, -64\n\t" MCT_SAVED(sw) "sw a0, 0(sp)\n\t"
#define MCT_LEAVE MCT_SAVED(lw) "addi sp, sp, 64\n\t" "ret\n\t"
#define MCT_SUM_RUNS                                                                                         \
    "lw a1, 0(a0)\n\t"                                                                                       \
    "lw a3, 4(a0)\n\t"                                                                                       \
    "lw a2, 8(a0)\n\t"                                                                                       \
    "lw a4, 12(a0)\n\t"                                                                                      \
    "lw a6, 16(a0)\n\t"                                                                                      \
    "lw a7, 20(a0)\n\t"                                                                                      \
    "lw a0, 24(a0)\n\t"                                                                                      \
    "1: lw a5, 8(a0)\n\t"                                                                                    \
    "lw t0, 0(a0)\n\t"                                                                                       \
    "lw t1, 4(a0)\n\t"                                                                                       \
    "addi a5, a5, -1\n\t"                                                                                    \
    "addi a0, a0, 12\n\t"                                                                                    \
    "bltz a5, 3f\n\t"                                                                                        \
    "add a1, a1, t0\n\t"                                                                                     \
    "add a3, a3, t1\n\t"                                                                                     \
    "sw a0, 4(sp)\n\t"                                                                                       \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t"                                                                                      \
    MCT_LOAD(t0, a1, a2) MCT_LOAD(t1, a1, a2) MCT_LOAD(t2, a1, a2) MCT_LOAD(t6, a1, a6)                      \
    MCT_LOAD(a0, a3, a4)                                                                                     \
    "beqz a5, 2f\n\t"                                                                                        \
    ".insn i 0x7b, 4, x0, a5, 48\n\t" /* lp.setup: the next 24 instructions, a5 times */                     \
    MCT_DOT(s0, t0, a0) MCT_DOT(s4, t1, a0) MCT_LOAD(a5, a3, a4) MCT_DOT(s8, t2, a0)                         \
    MCT_DOT(ra, t6, a0) MCT_DOT(s1, t0, a5) MCT_DOT(s5, t1, a5) MCT_LOAD(a0, a3, a4)                         \
    MCT_DOT(s9, t2, a5) MCT_DOT(t3, t6, a5) MCT_DOT(s2, t0, a0) MCT_DOT(s6, t1, a0)                          \
    MCT_LOAD(a5, a3, a7) MCT_DOT(s10, t2, a0) MCT_DOT(s3, t0, a5) MCT_LOAD(t0, a1, a2)                       \
    MCT_DOT(s7, t1, a5) MCT_LOAD(t1, a1, a2) MCT_DOT(s11, t2, a5) MCT_LOAD(t2, a1, a2)                       \
    MCT_DOT(t4, t6, a0) MCT_LOAD(a0, a3, a4) MCT_DOT(t5, t6, a5) MCT_LOAD(t6, a1, a6)                        \
    "2:\n\t" /* the last pair */                                                                             \
    MCT_DOT(s0, t0, a0) MCT_LOAD(a5, a3, a4) MCT_DOT(s4, t1, a0) MCT_DOT(s8, t2, a0)                         \
    MCT_DOT(ra, t6, a0) MCT_DOT(s1, t0, a5) MCT_LOAD(a0, a3, a4) MCT_DOT(s5, t1, a5)                         \
    MCT_DOT(s9, t2, a5) MCT_DOT(t3, t6, a5) MCT_DOT(s2, t0, a0) MCT_LOAD(a5, a3, a7)                         \
    MCT_DOT(s6, t1, a0) MCT_DOT(s10, t2, a0) MCT_DOT(t4, t6, a0)                                             \
    "lw a0, 4(sp)\n\t"                                                                                       \
    MCT_DOT(s3, t0, a5) MCT_DOT(s7, t1, a5) MCT_DOT(s11, t2, a5) MCT_DOT(t5, t6, a5)                         \
    ".option pop\n\t"                                                                                        \
    "j 1b\n\t"                                                                                               \
    "3: lw a0, 0(sp)\n\t"
#define MCT_ADD(a, b) "fadd.s " #a ", " #a ", " #b "\n\t"
#define MCT_ADD_ROW(a, b, c, d) MCT_ADD(a, t0) MCT_ADD(b, t1) MCT_ADD(c, t2) MCT_ADD(d, t6)
/* vfcpka.h.s, pv.max.h */
#define MCT_STORE_ROW(a, b, c, d)                                                                            \
    ".insn r 0x33, 2, 0x58, a5, " #a ", " #b "\n\t"                                                          \
    ".insn r 0x33, 2, 0x58, a6, " #c ", " #d "\n\t"                                                          \
    ".insn r 0x57, 0, 0x18, a5, a5, a4\n\t"                                                                  \
    ".insn r 0x57, 0, 0x18, a6, a6, a4\n\t"                                                                  \
    "sw a5, 0(a2)\n\t"                                                                                       \
    "sw a6, 4(a2)\n\t"                                                                                       \
    "add a2, a2, a3\n\t"
#define MCT_ROW(op, a, b, c, d)                                                                              \
    #op " " #a ", 0(a1)\n\t" #op " " #b ", 4(a1)\n\t" #op " " #c ", 8(a1)\n\t" #op " " #d ", 12(a1)\n\t"
#define MCT_ROWS(op)                                                                                         \
    MCT_ROW(op, s0, s1, s2, s3) "add a1, a1, a2\n\t" MCT_ROW(op, s4, s5, s6, s7) "add a1, a1, a2\n\t"         \
    MCT_ROW(op, s8, s9, s10, s11) "add a1, a1, a2\n\t" MCT_ROW(op, ra, t3, t4, t5)

static __attribute__((naked, noinline, unused)) void
mct_run_blocks(__attribute__((unused)) struct mct_run_blocks *blocks) {
    __asm__(MCT_ENTER
            "4: li s0, 0\n\tli s1, 0\n\tli s2, 0\n\tli s3, 0\n\tli s4, 0\n\tli s5, 0\n\tli s6, 0\n\t"
            "li s7, 0\n\tli s8, 0\n\tli s9, 0\n\tli s10, 0\n\tli s11, 0\n\tli ra, 0\n\tli t3, 0\n\t"
            "li t4, 0\n\tli t5, 0\n\t"
            MCT_SUM_RUNS
            "lw a1, 28(a0)\n\t"
            "lw a2, 32(a0)\n\t"
            "lw a3, 36(a0)\n\t"
            "lw a4, 40(a0)\n\t"
            "lw t0, 0(a1)\n\t"
            "lw t1, 4(a1)\n\t"
            "lw t2, 8(a1)\n\t"
            "lw t6, 12(a1)\n\t"
            "addi a1, a1, 16\n\t"
            "sw a1, 28(a0)\n\t"
            "addi a1, a2, 8\n\t"
            "sw a1, 32(a0)\n\t"
            MCT_ADD_ROW(s0, s1, s2, s3) MCT_STORE_ROW(s0, s1, s2, s3)
            MCT_ADD_ROW(s4, s5, s6, s7) MCT_STORE_ROW(s4, s5, s6, s7)
            MCT_ADD_ROW(s8, s9, s10, s11) MCT_STORE_ROW(s8, s9, s10, s11)
            MCT_ADD_ROW(ra, t3, t4, t5) MCT_STORE_ROW(ra, t3, t4, t5)
            "lw a1, 4(a0)\n\t"
            "lw a2, 44(a0)\n\t"
            "lw a3, 48(a0)\n\t"
            "add a1, a1, a2\n\t"
            "addi a3, a3, -1\n\t"
            "sw a1, 4(a0)\n\t"
            "sw a3, 48(a0)\n\t"
            "bnez a3, 4b\n\t"
            MCT_LEAVE);
}

static __attribute__((naked, noinline, unused)) void
mct_run_sums(__attribute__((unused)) struct mct_run_sums *sums) {
    __asm__(MCT_ENTER
            "4: lw a1, 28(a0)\n\t"
            "lw a2, 32(a0)\n\t"
            MCT_ROWS(lw)
            MCT_SUM_RUNS
            "lw a1, 28(a0)\n\t"
            "lw a2, 32(a0)\n\t"
            "addi a3, a1, 16\n\t"
            "sw a3, 28(a0)\n\t"
            MCT_ROWS(sw)
            "lw a1, 4(a0)\n\t"
            "lw a2, 36(a0)\n\t"
            "lw a3, 40(a0)\n\t"
            "add a1, a1, a2\n\t"
            "addi a3, a3, -1\n\t"
            "sw a1, 4(a0)\n\t"
            "sw a3, 40(a0)\n\t"
            "bnez a3, 4b\n\t"
            MCT_LEAVE);
}
/* clang-format on */
#undef MCT_DOT
#undef MCT_LOAD
#undef MCT_SAVED
#undef MCT_ENTER
#undef MCT_LEAVE
#undef MCT_SUM_RUNS
#undef MCT_ADD
#undef MCT_ADD_ROW
#undef MCT_STORE_ROW
#undef MCT_ROW
#undef MCT_ROWS
#else
MCT_INLINE void mct_sum_runs(float sum[16], const mct_elem *a, int32_t a_step, const mct_elem *b,
                             int32_t b_step, const struct mct_run_step *run) {
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    for (; run->pairs; run++) {
        x += run->a_skip;
        y += run->b_skip;
        for (uint32_t i = 0; i < run->pairs; i++) {
            mct_pair p[4], q[4];
            for (int32_t r = 0; r < 4; r++) {
                p[r] = mct_load((const mct_elem *)(const void *)(x + r * a_step));
                q[r] = mct_load((const mct_elem *)(const void *)(y + r * b_step));
            }
            for (uint32_t r = 0; r < 16; r++)
                sum[r] = mct_dot(sum[r], p[r / 4], q[r % 4]);
            x += 2 * sizeof(mct_elem);
            y += 2 * sizeof(mct_elem);
        }
    }
}

static __attribute__((unused)) void mct_run_blocks(struct mct_run_blocks *k) {
    for (; k->blocks; k->blocks--) {
        float sum[16] = {0};
        mct_sum_runs(sum, k->a, k->a_step, k->b, k->b_step, k->runs);
        for (uint32_t i = 0; i < 16; i++)
            sum[i] += k->bias[i % 4];
        for (int32_t r = 0; r < 4; r++)
            mct_narrow4((mct_elem *)(void *)((uint8_t *)k->y + r * k->y_step), sum + 4 * r, k->relu == 0);
        k->b = (const mct_elem *)(const void *)((const uint8_t *)k->b + k->b_next);
        k->y += 4;
        k->bias += 4;
    }
}

static __attribute__((unused)) void mct_run_sums(struct mct_run_sums *k) {
    for (; k->blocks; k->blocks--) {
        float sum[16], *acc = k->acc;
        for (uint32_t i = 0; i < 16; i++)
            sum[i] = acc[i / 4 * ((uint32_t)k->acc_step / 4) + i % 4];
        mct_sum_runs(sum, k->a, k->a_step, k->b, k->b_step, k->runs);
        for (uint32_t i = 0; i < 16; i++)
            acc[i / 4 * ((uint32_t)k->acc_step / 4) + i % 4] = mct_canonical(sum[i]);
        k->b = (const mct_elem *)(const void *)((const uint8_t *)k->b + k->b_next);
        k->acc += 4;
    }
}
#endif

#endif
