/* Blocks of sixteen dot products over operands that lie in several places: what a window meets in a tile.
 *
 * Runs are all of one length. Between them the pointers skip some bytes, from where the run before has
 * ended; mct_skip_a and mct_skip_b say what to write for that, because a backend may have read ahead. */
#ifndef MCT_SIMD_RUNS_H
#define MCT_SIMD_RUNS_H

#include "simd.h"

enum { MCT_RUNS_SAVED = 16 };

/* As integers the least, of two halves or of a word. */
#if MCT_ELEM == 16
#define MCT_RUN_NO_RELU 0x80008000u
#else
#define MCT_RUN_NO_RELU 0x80000000u
#endif

/* Four rows of a by 4 * `blocks` rows of b: y[r][c] = max(sum over all runs of a[r] * b[c], + bias[c]), one
 * rounding, or with `relu` 0 in place of what is less. Steps are in bytes, from one row to the next, those
 * called back from the last row to the next pair of the first.
 *
 * mct_run_blocks: b goes on without a skip; `skips` has that of a after each run, which is 0 after the last.
 * mct_run_plain: the same without bias and relu. mct_run_apart: so too, and `skips` has that of a and that of
 * b before each run. The calls change a, b, y, bias and blocks. */
struct mct_run_blocks {
    const mct_elem *a, *b;
    int32_t a_step, b_step, a_back, b_back;
    uint32_t pairs; /* of a run, as mct_run_pairs counts them */
    const int32_t *skips;
    uint32_t runs;
    mct_elem *y;
    int32_t y_step;
    const float *bias;
    uint32_t relu;  /* 0: yes, MCT_RUN_NO_RELU: no */
    int32_t b_next; /* from one block to the next */
    uint32_t blocks;
    uint32_t saved[MCT_RUNS_SAVED];
    uint32_t quads;         /* times all of that, each a_quad from the one before, y y_quad from its end */
    int32_t a_quad, y_quad; /* bytes */
    uint32_t first[4];      /* of the call: b, bias, blocks, quads */
};

/* acc[4 r + c] += the sum over all runs, rows acc_step apart, for blocks of four columns; a goes on without a
 * skip, b skips b_skip. The call changes b, acc and blocks. */
struct mct_run_sums {
    const mct_elem *a, *b;
    int32_t a_step, b_step, a_back, b_back;
    uint32_t pairs;
    int32_t b_skip;
    uint32_t runs;
    float *acc;
    int32_t acc_step;
    uint32_t unused[2];
    int32_t b_next;
    uint32_t blocks;
    uint32_t saved[MCT_RUNS_SAVED];
};

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

MCT_INLINE void mct_copy(mct_elem *to, const mct_elem *from, uint32_t n) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    for (; n >= 2; n -= 2, to += 2, from += 2)
        mct_xpulp_store(to, mct_xpulp_word(from));
#endif
    for (; n; n--)
        *to++ = *from++;
}

/* to[i] = from[i * step] and to[next + i] = from[i * step + 1] for i < 4 * fours, fours > 0. */
MCT_INLINE void mct_turn_columns(mct_elem *to, uint32_t next, const mct_elem *from, uint32_t step,
                                 uint32_t fours) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
#define LOAD(x) ".insn r 0x0b, 7, 0x10, %[" #x "], %[from], %[step]\n\t"
#define STORE(x, to) ".insn s 0x2b, 2, %[" #x "], 4(%[" #to "])\n\t"
#define LOW(to, high, low) ".insn r 0x57, 0, 0x68, %[" #to "], %[" #high "], %[" #low "]\n\t"
#define HIGH(low, high) ".insn r 0x57, 0, 0x64, %[" #low "], %[" #high "], %[select]\n\t"
    mct_elem *second = to + next;
    uint32_t a, b, c, d, e;
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".insn i 0x7b, 4, x0, %[fours], 24\n\t" /* lp.setup: the next 12 instructions */
                     LOAD(a) LOAD(b) LOAD(c) LOAD(d) LOW(e, b, a) HIGH(a, b) STORE(e, to) LOW(e, d, c)
                         HIGH(c, d) STORE(a, second) STORE(e, to) STORE(c, second) ".option pop"
                     : [to] "+r"(to), [second] "+r"(second), [from] "+r"(from), [a] "=&r"(a), [b] "=&r"(b),
                       [c] "=&r"(c), [d] "=&r"(d), [e] "=&r"(e)
                     : [step] "r"(step * sizeof(mct_elem)), [fours] "r"(fours), [select] "r"(0x00030001u)
                     : "memory");
#undef LOAD
#undef STORE
#undef LOW
#undef HIGH
#else
    for (uint32_t i = 0; i < 4 * fours; i++, from += step) {
        to[i] = from[0];
        to[next + i] = from[1];
    }
#endif
}

/* As mct_turn_2x2, from binary32, each rounded once. */
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

#ifdef MCT_XPULP
#include "runs_xpulp.h"
#else
MCT_INLINE uint32_t mct_run_pairs(uint32_t elements) {
    return elements / 2;
}

MCT_INLINE int32_t mct_run_back(int32_t step) {
    return 2 * (int32_t)sizeof(mct_elem) - 3 * step;
}

MCT_INLINE int32_t mct_skip_a(int32_t bytes) {
    return bytes;
}

MCT_INLINE int32_t mct_skip_b(int32_t bytes, int32_t b_step) {
    (void)b_step;
    return bytes;
}

MCT_INLINE const mct_elem *mct_bytes_on(const mct_elem *p, int32_t bytes) {
    return (const mct_elem *)(const void *)((const uint8_t *)p + bytes);
}

MCT_INLINE void mct_sum_run(float sum[16], const mct_elem *a, int32_t a_step, const mct_elem *b,
                            int32_t b_step, uint32_t pairs) {
    for (uint32_t i = 0; i < 2 * pairs; i += 2) {
        mct_pair p[4], q[4];
        for (int32_t r = 0; r < 4; r++) {
            p[r] = mct_load(mct_bytes_on(a + i, r * a_step));
            q[r] = mct_load(mct_bytes_on(b + i, r * b_step));
        }
        for (uint32_t r = 0; r < 16; r++)
            sum[r] = mct_dot(sum[r], p[r / 4], q[r % 4]);
    }
}

static void mct_run_quad(struct mct_run_blocks *k, bool apart, bool finish) {
    for (; k->blocks; k->blocks--) {
        float sum[16] = {0};
        const mct_elem *a = k->a, *b = k->b;
        const int32_t *skip = k->skips;
        for (uint32_t run = 0; run < k->runs; run++, a += 2 * k->pairs, b += 2 * k->pairs) {
            if (apart) {
                a = mct_bytes_on(a, *skip++);
                b = mct_bytes_on(b, *skip++);
            }
            mct_sum_run(sum, a, k->a_step, b, k->b_step, k->pairs);
            if (!apart)
                a = mct_bytes_on(a, *skip++);
        }
        for (uint32_t i = 0; finish && i < 16; i++)
            sum[i] += k->bias[i % 4];
        for (int32_t r = 0; r < 4; r++)
            mct_narrow4((mct_elem *)(void *)((uint8_t *)k->y + r * k->y_step), sum + 4 * r,
                        finish && k->relu == 0);
        k->b = mct_bytes_on(k->b, k->b_next);
        k->y += 4;
        k->bias += finish ? 4 : 0;
    }
}

static __attribute__((unused)) void mct_run_any(struct mct_run_blocks *k, bool apart, bool finish) {
    const struct mct_run_blocks first = *k;
    for (uint32_t quad = 0; quad < first.quads; quad++) {
        k->b = first.b;
        k->bias = first.bias;
        k->blocks = first.blocks;
        mct_run_quad(k, apart, finish);
        k->a = mct_bytes_on(k->a, k->a_quad);
        k->y = (mct_elem *)(void *)((uint8_t *)k->y + k->y_quad);
    }
}

static __attribute__((unused)) void mct_run_blocks(struct mct_run_blocks *k) {
    mct_run_any(k, false, true);
}

static __attribute__((unused)) void mct_run_plain(struct mct_run_blocks *k) {
    mct_run_any(k, false, false);
}

static __attribute__((unused)) void mct_run_apart(struct mct_run_blocks *k) {
    mct_run_any(k, true, false);
}

static __attribute__((unused)) void mct_run_sums(struct mct_run_sums *k) {
    for (; k->blocks; k->blocks--) {
        const uint32_t step = (uint32_t)k->acc_step / sizeof(float);
        float sum[16], *acc = k->acc;
        for (uint32_t i = 0; i < 16; i++)
            sum[i] = acc[i / 4 * step + i % 4];
        const mct_elem *a = k->a, *b = k->b;
        for (uint32_t run = 0; run < k->runs; run++, a += 2 * k->pairs) {
            mct_sum_run(sum, a, k->a_step, b, k->b_step, k->pairs);
            b = mct_bytes_on(b + 2 * k->pairs, k->b_skip);
        }
        for (uint32_t i = 0; i < 16; i++)
            acc[i / 4 * step + i % 4] = mct_canonical(sum[i]);
        k->b = mct_bytes_on(k->b, k->b_next);
        k->acc += 4;
    }
}
#endif

#endif
