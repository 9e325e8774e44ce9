/* PULP's inner loops of depthwise convolutions with 3 by 3 taps, for two channels, over operands in L1.
 *
 * The two halves of a word are neighbouring channels; words of two taps, or of two pixels, are put together
 * to one for each channel, which the dots take. */
#ifndef MCT_DEPTHWISE_XPULP_H
#define MCT_DEPTHWISE_XPULP_H

#include "assembly_xpulp.h"
#include "windows_xpulp.h"

/* Weights of taps (0,1), (2,3) ... (8, none) for the first channel and the second. */
struct mct_x_taps {
    uint32_t first[5], second[5];
};

MCT_INLINE struct mct_x_taps mct_x_taps(const mct_elem *w, uint32_t channels) {
    struct mct_x_taps taps;
    for (uint32_t i = 0; i < 5; i++, w += 2 * channels) {
        uint32_t low = mct_xpulp_word(w), high = i < 4 ? mct_xpulp_word(w + channels) : 0;
        taps.first[i] = mct_xpulp_pack(high, low);
        taps.second[i] = mct_xpulp_pack_high(high, low);
    }
    return taps;
}

/* Bytes from a tap to the next in its row, from a row's last tap to the next row's first, from the last tap
 * to the first one of the next pixel; from a result to the next. */
struct mct_x_steps {
    int32_t column, row, pixel, result;
};

/* clang-format off */
#define MCT_X_NEXT(to, by) MCT_X_LOAD(to, "x", by)
#define MCT_X_ZERO(s) "mv %[" s "], x0\n\t"
#define MCT_X_ALONE(to, v) ".insn r 0x57, 0, 0x68, %[" to "], x0, %[" v "]\n\t" /* pv.pack.h */
#define MCT_X_RELU(v, bound) ".insn r 0x57, 0, 0x18, %[" v "], %[" v "], " bound "\n\t" /* pv.max.h */
#define MCT_X_DOTS(low, high, i) MCT_X_DOT("[s0]", low, "f" i) MCT_X_DOT("[s1]", high, "g" i)
#define MCT_X_PIXELS(count, bias)                                                                            \
    ".option push\n\t"                                                                                       \
    ".option norvc\n"                                                                                        \
    "1:\tlw %[t], %[pixels]\n\t"                                                                             \
    ".insn i 0x7b, 4, x0, %[t], 2*" count "\n\t" /* lp.setup: the next `count` instructions, t times */      \
    MCT_X_NEXT("x0", "column") MCT_X_NEXT("x1", "column") MCT_X_NEXT("x2", "row")                            \
    MCT_X_ZERO("s0") MCT_X_ZERO("s1") "add %[y], %[y], %[result]\n\t"                                        \
    MCT_X_PACK("t", "x1", "x0") MCT_X_HIGH("x0", "x1") MCT_X_NEXT("x3", "column")                            \
    MCT_X_DOTS("t", "x0", "0") MCT_X_NEXT("x0", "column")                                                    \
    MCT_X_PACK("t", "x3", "x2") MCT_X_HIGH("x2", "x3") MCT_X_NEXT("x1", "row")                               \
    MCT_X_DOTS("t", "x2", "1") MCT_X_NEXT("x2", "column")                                                    \
    MCT_X_PACK("t", "x1", "x0") MCT_X_HIGH("x0", "x1") MCT_X_NEXT("x3", "column")                            \
    MCT_X_DOTS("t", "x0", "2") MCT_X_NEXT("x0", "pixel")                                                     \
    MCT_X_PACK("t", "x3", "x2") MCT_X_HIGH("x2", "x3") MCT_X_DOTS("t", "x2", "3")                            \
    MCT_X_ALONE("t", "x0") "srli %[x0], %[x0], 16\n\t" MCT_X_DOTS("t", "x0", "4") bias                       \
    MCT_X_NARROW("t", "s0", "s1") MCT_X_RELU("t", "%[bound]")                                                \
    ".insn s 0x2b, 2, %[t], 0(%[y])\n\t"                                                                     \
    "lw %[t], %[jump]\n\t"                                                                                   \
    "addi %[rows], %[rows], -1\n\t"                                                                          \
    "add %[x], %[x], %[t]\n\t"                                                                               \
    "bnez %[rows], 1b\n\t"                                                                                   \
    ".option pop"
/* clang-format on */
#define MCT_X_PIXEL_OPERANDS                                                                                 \
    [x] "+r"(x), [y] "+r"(y), [rows] "+r"(rows), [t] "=&r"(t), [x0] "=&r"(x0), [x1] "=&r"(x1),               \
        [x2] "=&r"(x2), [x3] "=&r"(x3), [s0] "=&r"(s0),                                                      \
        [s1] "=&r"(s1)                                                                                       \
        : [f0] "r"(w->first[0]), [f1] "r"(w->first[1]), [f2] "r"(w->first[2]), [f3] "r"(w->first[3]),        \
          [f4] "r"(w->first[4]), [g0] "r"(w->second[0]), [g1] "r"(w->second[1]), [g2] "r"(w->second[2]),     \
          [g3] "r"(w->second[3]), [g4] "r"(w->second[4]), [column] "r"(steps->column),                       \
          [row] "r"(steps->row), [pixel] "r"(steps->pixel), [result] "r"(steps->result),                     \
          [select] "r"(0x00030001u), [bound] "r"(bound), [pixels] "m"(pixels), [jump] "m"(jump)

/* `rows` > 0 rows of `pixels` > 0 results in two channels, the rows of x `jump` bytes apart but for what the
 * pixels go: sums of x times the taps, plus bias, set to zero below zero
 * when `bound` is 0, and left as they are when it is 0x80008000. */
MCT_INLINE void mct_x_depthwise(mct_elem *y, const mct_elem *x, const struct mct_x_taps *w,
                                const struct mct_x_steps *steps, const float *bias, uint32_t bound,
                                uint32_t rows, uint32_t pixels, int32_t jump) {
    uint32_t x0, x1, x2, x3, t;
    float s0, s1;
    y = (mct_elem *)(void *)((uint8_t *)y - steps->result);
    if (bias)
        __asm__ volatile(MCT_X_PIXELS("37", "fadd.s %[s0], %[s0], %[b0]\n\t"
                                            "fadd.s %[s1], %[s1], %[b1]\n\t")
                         : MCT_X_PIXEL_OPERANDS, [b0] "r"(bias[0]), [b1] "r"(bias[1])
                         : "memory");
    else
        __asm__ volatile(MCT_X_PIXELS("35", "") : MCT_X_PIXEL_OPERANDS : "memory");
}

/* What mct_x_depthwise_down works on. The assembly knows the offsets. */
struct mct_x_down {
    const mct_elem *x; /*  0: the last of the three words in the first row */
    mct_elem *y;       /*  4: the result two rows before */
    const mct_elem *w; /*  8: weights of tap (0, 0) */
    int32_t tap;       /* 12: bytes from a tap to the next in w */
    int32_t back;      /* 16: bytes from a word of x to the one before it in its row */
    int32_t down;      /* 20: bytes from the first word of a row to the last of the next one */
    int32_t result;    /* 24: bytes from a result to the next */
    uint32_t twice;    /* 28: rows of x in twos */
    float bias[2];     /* 32, 36 */
    uint32_t bound;    /* 40 */
};

/* clang-format off */
#define MCT_X_PAIR(s, v, w) MCT_X_DOT("[" s "]", v, w)
#define MCT_X_MAC(s, v, w) ".insn r 0x53, 0, 0x2a, %[" s "], %[" v "], %[" w "]\n\t"
#define MCT_X_PUT ".insn r 0x2b, 6, 0, %[result], %[y], %[u]\n\t" /* p.sw, then y += result */
#define MCT_X_FIELD(to, offset) "lw %[" to "], " offset "(%[t])\n\t"
#define MCT_X_PLAIN(e, f) MCT_X_NARROW("u", e, f)
#define MCT_X_FINISH(e, f)                                                                                   \
    "fadd.s %[" e "], %[" e "], %[bias0]\n\t" "fadd.s %[" f "], %[" f "], %[bias1]\n\t"                      \
    MCT_X_NARROW("u", e, f) MCT_X_RELU("u", "gp")
/* Row r of x: its three words are in a, b and c, the third of the row before in d. It ends results r - 2 in e
 * and f, is the middle of results r - 1 in g and h, and begins results r in e and f, of which the first dot
 * is left to the next row, with t. The last tap goes alone, by fmacex.s.h. Every other instruction is one of
 * the floating-point unit, so that two cores that share one do not wait. */
#define MCT_X_ROW(e, f, g, h, d, c, FINISH)                                                                  \
    MCT_X_PAIR(g, "t", "f0") MCT_X_PACK("u", "a", d) MCT_X_PAIR(g, "u", "f1") MCT_X_HIGH(d, "a")             \
    MCT_X_PAIR(h, d, "g1") MCT_X_PACK("t", "b", "a") MCT_X_PAIR(e, "t", "f3") MCT_X_HIGH("a", "b")           \
    MCT_X_PAIR(f, "a", "g3") MCT_X_PACK("u", c, "b") MCT_X_PAIR(g, "u", "f2") MCT_X_HIGH("b", c)             \
    MCT_X_PAIR(h, "b", "g2") "srli %[u], %[" c "], 16\n\t" MCT_X_MAC(e, c, "f4") MCT_X_NEXT(d, "back")       \
    MCT_X_MAC(f, "u", "g4") MCT_X_NEXT("b", "back") FINISH(e, f) MCT_X_ZERO(f) MCT_X_PAIR(f, "a", "g0")      \
    MCT_X_PUT MCT_X_ZERO(e) MCT_X_NEXT("a", "down")
#define MCT_X_DOWN(LENGTH, BIAS, FINISH)                                                                     \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t"                                                                                      \
    MCT_X_FIELD("x", "8") "lui %[select], 0x30\n\t" MCT_X_FIELD("y", "12")                                   \
    "addi %[select], %[select], 1\n\t" MCT_X_NEXT("g0", "y") BIAS MCT_X_NEXT("a", "y")                       \
    MCT_X_FIELD("back", "16") MCT_X_NEXT("g1", "y") MCT_X_PACK("f0", "a", "g0")                              \
    MCT_X_NEXT("b", "y") MCT_X_HIGH("g0", "a") MCT_X_NEXT("g2", "y") MCT_X_PACK("f1", "b", "g1")             \
    MCT_X_NEXT("c", "y") MCT_X_HIGH("g1", "b") MCT_X_NEXT("g3", "y") MCT_X_PACK("f2", "c", "g2")             \
    MCT_X_NEXT("d", "y") MCT_X_HIGH("g2", "c") MCT_X_NEXT("f4", "y") MCT_X_PACK("f3", "d", "g3")             \
    MCT_X_FIELD("x", "0") MCT_X_HIGH("g3", "d") MCT_X_FIELD("y", "4") "srli %[g4], %[f4], 16\n\t"            \
    MCT_X_NEXT("c", "back") MCT_X_FIELD("down", "20") MCT_X_NEXT("b", "back") MCT_X_FIELD("result", "24")    \
    MCT_X_NEXT("a", "down") MCT_X_FIELD("t", "28")                                                           \
    ".insn i 0x7b, 4, x0, %[t], 2*" LENGTH "\n\t" /* lp.setup: two rows */                                   \
    MCT_X_ROW("e", "f", "g", "h", "d", "c", FINISH)                                                          \
    MCT_X_ROW("g", "h", "e", "f", "c", "d", FINISH)                                                          \
    ".option pop"
/* clang-format on */
#define MCT_X_DOWN_OPERANDS                                                                                  \
    [t] "+r"(t), [x] "=&r"(x), [y] "=&r"(y), [u] "=&r"(u), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c),         \
        [d] "=&r"(d), [e] "=&r"(e), [f] "=&r"(f), [g] "=&r"(g), [h] "=&r"(h), [f0] "=&r"(f0),                \
        [f1] "=&r"(f1), [f2] "=&r"(f2), [f3] "=&r"(f3), [f4] "=&r"(f4), [g0] "=&r"(g0), [g1] "=&r"(g1),      \
        [g2] "=&r"(g2), [g3] "=&r"(g3), [g4] "=&r"(g4), [back] "=&r"(back), [down] "=&r"(down),              \
        [result] "=&r"(result), [select] "=&r"(select)

/* Results in two channels, with stride 1 down a column and on through the next ones: sums of x times the
 * taps, and, if `finish`, plus bias, set to zero below zero when the bound is 0, left as they are when it is
 * 0x80008000.
 *
 * Three rows of results are on their way at a time, so that each row of x is read once, and its pairs are put
 * together once for the first and last taps. There is no code for the ends: the first two results are not
 * those of any pixel. It reads one row of x more than it needs.
 *
 * All registers are in use, gp for the bound; nothing else here reads or writes it: compilers reserve it for
 * the linker, which makes no use of it without a symbol __global_pointer$, and targets/<board>/link.ld define
 * none; interrupts are off while kernels run, and the traps of qemu-xpulp keep all registers. */
MCT_INLINE void mct_x_depthwise_down(const struct mct_x_down *k, bool finish) {
    const struct mct_x_down *t = k;
    uint32_t x, y, u, a, b, c, d, e, f, g, h, f0, f1, f2, f3, f4, g0, g1, g2, g3, g4, back, down, result,
        select;
    if (finish) {
        uint32_t bias0, bias1;
        __asm__ volatile(
            MCT_X_DOWN("54", MCT_X_FIELD("bias0", "32") MCT_X_FIELD("bias1", "36") "lw gp, 40(%[t])\n\t",
                       MCT_X_FINISH)
            : MCT_X_DOWN_OPERANDS, [bias0] "=&r"(bias0), [bias1] "=&r"(bias1)
            :
            : "memory");
    } else {
        __asm__ volatile(MCT_X_DOWN("48", "", MCT_X_PLAIN) : MCT_X_DOWN_OPERANDS : : "memory");
    }
}

/* clang-format off */
/* A tap: its words are in a (first pixel) and b (second); `next` loads more meanwhile, not into a. */
#define MCT_X_TAP(a, b, i, j, next)                                                                          \
    MCT_X_PACK("t", b, a) MCT_X_HIGH(a, b) next MCT_X_DOT(i, "t", "d0") MCT_X_DOT(j, a, "d1")
#define MCT_X_PAIRS(count, taps)                                                                             \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t"                                                                                      \
    ".insn i 0x7b, 4, x0, %[t], 2*" count "\n\t" /* lp.setup */                                              \
    MCT_X_LOAD4("p", "table") MCT_X_LOAD4("q", "table")                                                      \
    MCT_X_LOAD("d1", "dy", "on") MCT_X_LOAD("c", "dy", "on")                                                 \
    "add %[p], %[p], %[x]\n\t"                                                                               \
    "add %[q], %[q], %[x]\n\t"                                                                               \
    MCT_X_PACK("d0", "c", "d1") MCT_X_HIGH("d1", "c")                                                        \
    MCT_X_LOAD("a", "p", "column") MCT_X_LOAD("b", "q", "column") MCT_X_LOAD("c", "p", "column") taps        \
    ".option pop"
/* clang-format on */
#define MCT_X_PAIR_OPERANDS                                                                                  \
    [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [e] "=&r"(e), [d0] "=&r"(d0), [d1] "=&r"(d1), [p] "=&r"(p),    \
        [q] "=&r"(q), [t] "+r"(t), [table] "+r"(table),                                                      \
        [dy] "+r"(dy)                                                                                        \
        : [x] "r"(x), [column] "r"(column), [on] "r"(on), [row] "r"(row), [select] "r"(0x00030001u)          \
        : "memory"

/* sum[2 t + c] continues with dy times what tap t meets in x, for three taps of a row and two channels, over
 * `pairs` > 0 pairs of pixels. The table has where each pixel's first tap is, in bytes from `x`; taps are
 * `column` bytes apart, pixels of dy `on`. */
MCT_INLINE void mct_x_depthwise_3_taps(float sum[6], const mct_elem *x, const mct_elem *dy,
                                       const uint32_t *table, int32_t column, int32_t on, uint32_t pairs) {
    uint32_t a, b, c, d0, d1, e, p, q, t = pairs;
    const int32_t row = 0; /* there is but one */
    /* clang-format off */
    __asm__ volatile(
        MCT_X_PAIRS("26",
            MCT_X_TAP("a", "b", "0", "1", MCT_X_LOAD("e", "q", "column") MCT_X_LOAD("b", "p", "row"))
            MCT_X_TAP("c", "e", "2", "3", MCT_X_LOAD("a", "q", "row"))
            MCT_X_TAP("b", "a", "4", "5", ))
        : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]), "+r"(sum[4]), "+r"(sum[5]),
          MCT_X_PAIR_OPERANDS);
    /* clang-format on */
}

/* What mct_x_depthwise_lines works on, all steps in bytes. The assembly knows the offsets, and changes x, acc
 * and left. */
struct mct_x_lines {
    const mct_elem *x;  /*  0: what the first tap meets at the first pixel */
    const mct_elem *dy; /*  4: the second pixel */
    float *acc;         /*  8: sums of the first tap */
    int32_t tap;        /* 12: from the second sum of a tap to the first of the next */
    int32_t on;         /* 16: in x, from a column to the next */
    int32_t twice_back; /* 20: to the last but one */
    int32_t wrap; /* 24: from the last but one column that a row of dy meets to the first of the next row */
    int32_t next; /* 28: from behind a row to the next one */
    int32_t back; /* 32: in dy, from a pixel to the one before */
    int32_t thrice_on; /* 36: to the third after it */
    uint32_t lines;    /* 40: rows, in twos if their width is odd */
    uint32_t pairs;    /* 44: whole pairs of pixels in a row */
    uint32_t odd;      /* 48: whether the last row has no other, and its last pixel no partner */
    int32_t down;      /* 52: in x, from a row of taps to the next */
    uint32_t left;     /* 56: rows of taps */
};

/* clang-format off */
#define MCT_X_LINE_DOT(s, v, w) MCT_X_DOT("[s" s "]", v, w)
/* The next two pixels in a row, `n` times: l, h and d are its pair of words 0 and 1, and word 1; u and v
 * words of dy. All are those of the two pixels after these in the end. */
#define MCT_X_LINE_PAIRS                                                                                     \
    ".insn i 0x7b, 4, x0, %[n], 2*16\n\t" /* lp.setup */                                                     \
    MCT_X_PACK("d0", "v", "u") MCT_X_HIGH("u", "v") MCT_X_LINE_DOT("1", "h", "u") MCT_X_LOAD("h", "x", "on") \
    MCT_X_LINE_DOT("0", "l", "d0") MCT_X_PACK("l", "h", "d") MCT_X_HIGH("d", "h")                            \
    MCT_X_LINE_DOT("3", "d", "u")                                                                            \
    MCT_X_LOAD("d", "x", "on") MCT_X_LINE_DOT("2", "l", "d0") MCT_X_LOAD("v", "dy", "back")                  \
    MCT_X_PACK("l", "d", "h") MCT_X_HIGH("h", "d") MCT_X_LINE_DOT("5", "h", "u")                             \
    MCT_X_LOAD("u", "dy", "thrice") MCT_X_LINE_DOT("4", "l", "d0")
/* The beginning of a row, whose word 0 is in h. */
#define MCT_X_LINE_BEGIN                                                                                     \
    MCT_X_LOAD("d", "x", "on") "nop\n\t" MCT_X_PACK("l", "d", "h") MCT_X_HIGH("h", "d")
/* The last pixel of a row and the first of the next: words a, d and b of the one, c and those that begin the
 * other's row with the second pixel. */
#define MCT_X_LINE_WRAP                                                                                      \
    MCT_X_LOAD("b", "x", "twice") MCT_X_PACK("d0", "v", "u") MCT_X_LOAD("a", "x", "wrap")                    \
    MCT_X_HIGH("u", "v") MCT_X_LOAD("c", "x", "on") MCT_X_LOAD("h", "x", "on")                               \
    MCT_X_PACK("l", "c", "a") MCT_X_HIGH("a", "c") MCT_X_LINE_DOT("0", "l", "d0")                            \
    MCT_X_LOAD("c", "x", "on") MCT_X_LINE_DOT("1", "a", "u") MCT_X_PACK("l", "h", "d")                       \
    MCT_X_HIGH("d", "h") MCT_X_LINE_DOT("2", "l", "d0") MCT_X_PACK("a", "c", "b")                            \
    MCT_X_LINE_DOT("3", "d", "u") MCT_X_HIGH("b", "c") MCT_X_LINE_DOT("4", "a", "d0")                        \
    MCT_X_PACK("l", "c", "h") MCT_X_LINE_DOT("5", "b", "u") MCT_X_HIGH("h", "c")                             \
    MCT_X_LOAD("v", "dy", "back") "mv %[d], %[c]\n\t" MCT_X_LOAD("u", "dy", "thrice")
/* The last pixel, when it has no partner: word 2 of its row comes to words 0 and 1. */
#define MCT_X_LINE_LONE                                                                                      \
    "lw %[a], 48(%[k])\n\t"                                                                                  \
    "beqz %[a], 3f\n\t"                                                                                      \
    MCT_X_LINE_BEGIN MCT_X_LINE_PAIRS                                                                        \
    MCT_X_LOAD("b", "x", "on") MCT_X_ALONE("d0", "u") "srli %[u], %[u], 16\n\t"                              \
    MCT_X_ALONE("a", "l") MCT_X_LINE_DOT("0", "a", "d0") MCT_X_ALONE("a", "h") MCT_X_LINE_DOT("1", "a", "u") \
    MCT_X_ALONE("a", "d") MCT_X_LINE_DOT("2", "a", "d0") "srli %[d], %[d], 16\n\t"                           \
    MCT_X_LINE_DOT("3", "d", "u") MCT_X_ALONE("a", "b") MCT_X_LINE_DOT("4", "a", "d0")                       \
    "srli %[b], %[b], 16\n\t" MCT_X_LINE_DOT("5", "b", "u")
#define MCT_X_LINE_GET(s, t)                                                                                 \
    MCT_X_LOAD4("s" s, "acc") MCT_X_LOAD("s" t, "acc", "a")
#define MCT_X_LINE_PUT(s, t)                                                                                 \
    MCT_X_STORE4("s" s, "acc") ".insn r 0x2b, 6, 0, %[a], %[acc], %[s" t "]\n\t"
#define MCT_X_LINE_FIELD(to, offset) "lw %[" to "], " offset "(%[k])\n\t"
#define MCT_X_LINES(LENGTH, TWO, LONE)                                                                       \
    ".option push\n\t"                                                                                       \
    ".option norvc\n\t"                                                                                      \
    MCT_X_LINE_FIELD("n", "44") "lui %[select], 0x30\n\t" MCT_X_LINE_FIELD("on", "16")                       \
    "addi %[select], %[select], 1\n\t" MCT_X_LINE_FIELD("twice", "20") MCT_X_LINE_FIELD("wrap", "24")        \
    MCT_X_LINE_FIELD("next", "28") MCT_X_LINE_FIELD("back", "32") MCT_X_LINE_FIELD("thrice", "36")           \
    MCT_X_LINE_FIELD("acc", "8")                                                                             \
    "1:\t" MCT_X_LINE_FIELD("a", "12") MCT_X_LINE_FIELD("x", "0") MCT_X_LINE_FIELD("dy", "4")                \
    MCT_X_LINE_GET("0", "1") MCT_X_LINE_GET("2", "3") MCT_X_LINE_GET("4", "5")                               \
    MCT_X_LOAD("v", "dy", "back") MCT_X_LINE_FIELD("a", "40") MCT_X_LOAD("u", "dy", "thrice")                \
    MCT_X_LOAD("h", "x", "on")                                                                               \
    "beqz %[a], 2f\n\t"                                                                                      \
    ".insn i 0x7b, 4, x1, %[a], 2*" LENGTH "\n\t" /* lp.setup */                                             \
    MCT_X_LINE_BEGIN MCT_X_LINE_PAIRS TWO                                                                    \
    "add %[x], %[x], %[next]\n\t"                                                                            \
    MCT_X_LOAD("h", "x", "on")                                                                               \
    "2:\t" LONE                                                                                              \
    "3:\t" MCT_X_LINE_FIELD("acc", "8") MCT_X_LINE_FIELD("a", "12") MCT_X_LINE_FIELD("b", "0")               \
    MCT_X_LINE_PUT("0", "1") MCT_X_LINE_PUT("2", "3") MCT_X_LINE_PUT("4", "5")                               \
    MCT_X_LINE_FIELD("a", "52") "sw %[acc], 8(%[k])\n\t" MCT_X_LINE_FIELD("c", "56")                         \
    "add %[b], %[b], %[a]\n\t"                                                                               \
    "addi %[c], %[c], -1\n\t"                                                                                \
    "sw %[b], 0(%[k])\n\t"                                                                                   \
    "sw %[c], 56(%[k])\n\t"                                                                                  \
    "bnez %[c], 1b\n\t"                                                                                      \
    ".option pop"
/* clang-format on */
#define MCT_X_LINE_OPERANDS                                                                                  \
    [s0] "=&r"(s0), [s1] "=&r"(s1), [s2] "=&r"(s2), [s3] "=&r"(s3), [s4] "=&r"(s4), [s5] "=&r"(s5),          \
        [x] "=&r"(x), [dy] "=&r"(dy), [acc] "=&r"(acc), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c),            \
        [d] "=&r"(d), [l] "=&r"(l), [h] "=&r"(h), [u] "=&r"(u), [v] "=&r"(v), [d0] "=&r"(d0), [n] "=&r"(n),  \
        [on] "=&r"(on), [twice] "=&r"(twice), [wrap] "=&r"(wrap), [next] "=&r"(next), [back] "=&r"(back),    \
        [thrice] "=&r"(thrice), [select] "=&r"(select) : [k] "r"(k)

/* acc[tap][channel] continues with dy times what the tap meets in x, for two channels and some rows of three
 * taps, over rows of `width` > 1 pixels of dy; x has two pixels more in a row.
 *
 * Pairs go on from row to row, as the numbering of pixels does. Words of x are put together to pairs once:
 * the last tap of two pixels meets what the first tap of the next two does. It reads a row of x and two
 * pixels of dy behind the last that it needs. */
MCT_INLINE void mct_x_depthwise_lines(struct mct_x_lines *k, uint32_t width) {
    uint32_t s0, s1, s2, s3, s4, s5, x, dy, acc, a, b, c, d, l, h, u, v, d0, n, on, twice, wrap, next, back,
        thrice, select;
    if (width % 2)
        __asm__ volatile(MCT_X_LINES("64", MCT_X_LINE_WRAP MCT_X_LINE_PAIRS, MCT_X_LINE_LONE)
                         : MCT_X_LINE_OPERANDS
                         : "memory");
    else
        __asm__ volatile(MCT_X_LINES("23", "", "") : MCT_X_LINE_OPERANDS : "memory");
}

#endif
