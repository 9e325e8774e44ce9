/* SIMD backend for PULP's Xpulp and small-float extensions: a pair of binary16 is one register.
 *
 * Compilers do not know these instructions, so they are written by .insn; lane 0 is bits 15:0.
 * The encodings are those of the model pulp-open: targets/gvsoc tests them once when it starts. */
#ifndef MCT_SIMD_XPULP_H
#define MCT_SIMD_XPULP_H

#include "../mct.h"

/* rd = op(rs1, rs2), and the same where rd is read too */
#define MCT_XPULP_OP(opcode, funct3, funct7, rd, rs1, rs2)                                                   \
    __asm__(".insn r " #opcode ", " #funct3 ", " #funct7 ", %0, %1, %2" : "=r"(rd) : "r"(rs1), "r"(rs2))
#define MCT_XPULP_UPDATE(opcode, funct3, funct7, rd, rs1, rs2)                                               \
    __asm__(".insn r " #opcode ", " #funct3 ", " #funct7 ", %0, %1, %2" : "+r"(rd) : "r"(rs1), "r"(rs2))

/* rd + f32(rs1.1 * rs2.1 + rs1.0 * rs2.0): vfdotpex.s.h. Its funct3 is not the same on all PULP cores. */
#ifndef MCT_XPULP_DOT_FUNCT3
#define MCT_XPULP_DOT_FUNCT3 0
#endif
#define MCT_XPULP_TEXT(value) #value
#define MCT_XPULP_DOT_AS(funct3, rd, rs1, rs2)                                                               \
    ".insn r 0x33, " MCT_XPULP_TEXT(funct3) ", 0x4b, " rd ", " rs1 ", " rs2 "\n\t"
#define MCT_XPULP_DOT(rd, rs1, rs2) MCT_XPULP_DOT_AS(MCT_XPULP_DOT_FUNCT3, rd, rs1, rs2)

MCT_INLINE float mct_xpulp_dot(float acc, uint32_t a, uint32_t b) {
    __asm__(MCT_XPULP_DOT("%0", "%1", "%2") : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* {high: the low half of `high`, low: the low half of `low`}: pv.pack.h */
MCT_INLINE uint32_t mct_xpulp_pack(uint32_t high, uint32_t low) {
    uint32_t packed;
    MCT_XPULP_OP(0x57, 0, 0x68, packed, high, low);
    return packed;
}

/* {high: the high half of `high`, low: the high half of `low`}: pv.shuffle2.h */
MCT_INLINE uint32_t mct_xpulp_pack_high(uint32_t high, uint32_t low) {
    MCT_XPULP_UPDATE(0x57, 0, 0x64, low, high, 0x00030001u);
    return low;
}

#if MCT_ELEM == 16
typedef _Float16 mct_elem;
typedef uint32_t mct_pair;

MCT_INLINE float mct_widen(mct_elem v) {
    return (float)v;
}

/* Arithmetic and conversions return the canonical NaN. */
MCT_INLINE float mct_canonical(float v) {
    return v;
}

MCT_INLINE mct_elem mct_narrow(float v) {
    return (mct_elem)v;
}

/* Loads may be misaligned here, at a cycle more. */
MCT_INLINE uint32_t mct_xpulp_word(const mct_elem *p) {
    struct __attribute__((may_alias)) word {
        uint32_t bits;
    };
    uint32_t bits;
    __asm__("lw %0, %1" : "=r"(bits) : "m"(*(const struct word *)(const void *)p));
    return bits;
}

MCT_INLINE uint32_t mct_xpulp_half(const mct_elem *p) {
    uint16_t bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return bits;
}

MCT_INLINE void mct_xpulp_store(mct_elem *p, uint32_t bits) {
    struct __attribute__((may_alias)) word {
        uint32_t bits;
    };
    __asm__("sw %1, %0" : "=m"(*(struct word *)(void *)p) : "r"(bits));
}

/* Two by vfcpka.h.s; then pv.max.h with the bound as an integer, which sets negative numbers to 0 or, with
 * the least integer, leaves all as they are. */
MCT_INLINE void mct_narrow4(mct_elem *y, const float *v, bool relu) {
    uint32_t bound = relu ? 0 : 0x80008000u;
    for (uint32_t i = 0; i < 4; i += 2) {
        uint32_t packed, bounded;
        MCT_XPULP_OP(0x33, 2, 0x58, packed, v[i], v[i + 1]);
        MCT_XPULP_OP(0x57, 0, 0x18, bounded, packed, bound);
        mct_xpulp_store(y + i, bounded);
    }
}

MCT_INLINE mct_pair mct_load(const mct_elem *p) {
    return mct_xpulp_word(p);
}

MCT_INLINE mct_pair mct_join(const mct_elem *p, const mct_elem *q) {
    return mct_xpulp_pack(mct_xpulp_half(q), mct_xpulp_half(p));
}

MCT_INLINE mct_pair mct_load_low(const mct_elem *p) {
    return mct_xpulp_half(p);
}

MCT_INLINE void mct_join4(mct_pair to[4], const mct_elem *p, const mct_elem *q) {
    for (uint32_t i = 0; i < 4; i += 2) {
        uint32_t low = mct_xpulp_word(p + i), high = mct_xpulp_word(q + i);
        to[i] = mct_xpulp_pack(high, low);
        to[i + 1] = mct_xpulp_pack_high(high, low);
    }
}

MCT_INLINE mct_pair mct_both(float v) {
    uint32_t half = (uint32_t)mct_xpulp_half(&(mct_elem){(mct_elem)v});
    return half << 16 | half;
}

MCT_INLINE float mct_dot(float acc, mct_pair a, mct_pair b) {
    return mct_xpulp_dot(acc, a, b);
}

MCT_INLINE float mct_dot_low(float acc, mct_pair a, mct_pair b) {
    return mct_xpulp_dot(acc, a, b);
}

/* A step is 16 dots and 8 loads, which are spread so that two cores that share a
 * floating-point unit get in each other's way as little as possible; the operands of the next step are
 * loaded meanwhile, in place of the ones that have done their work. */
MCT_INLINE bool mct_sum_4x4(float *sum, const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                            uint32_t b_stride, uint32_t pairs) {
    int32_t a_step = (int32_t)(a_stride * sizeof(mct_elem)), a_back = 4 - 3 * a_step;
    int32_t b_step = (int32_t)(b_stride * sizeof(mct_elem)), b_back = 4 - 3 * b_step;
    uint32_t x0, x1, x2, x3, y0, y1 = pairs - 1;
#define DOT(s, x, y) MCT_XPULP_DOT("%" s, x, y)
#define LOAD(to, from, by) ".insn r 0x0b, 7, 0x10, " to ", " from ", " by "\n\t"
    __asm__(".option push\n\t"
            ".option norvc\n\t" LOAD("%[x0]", "%[a]", "%[a_step]") LOAD("%[x1]", "%[a]", "%[a_step]")
                LOAD("%[x2]", "%[a]", "%[a_step]") LOAD("%[x3]", "%[a]", "%[a_back]")
                    LOAD("%[y0]", "%[b]",
                         "%[b_step]") "beqz %[y1], 1f\n\t"
                                      ".insn i 0x7b, 4, x0, %[y1], 48\n\t" /* lp.setup: the next 24
                                                                              instructions, y1 times */
            DOT("0", "%[x0]", "%[y0]") LOAD("%[y1]", "%[b]", "%[b_step]") DOT("4", "%[x1]", "%[y0]") DOT(
                "8", "%[x2]", "%[y0]") DOT("12", "%[x3]", "%[y0]") DOT("1", "%[x0]", "%[y1]")
                LOAD("%[y0]", "%[b]", "%[b_step]") DOT("5", "%[x1]", "%[y1]") DOT("9", "%[x2]", "%[y1]") DOT(
                    "13", "%[x3]", "%[y1]") DOT("2", "%[x0]", "%[y0]") LOAD("%[y1]", "%[b]", "%[b_back]")
                    DOT("6", "%[x1]", "%[y0]") DOT("10", "%[x2]", "%[y0]") DOT("14", "%[x3]", "%[y0]") DOT(
                        "3", "%[x0]", "%[y1]") LOAD("%[y0]", "%[b]", "%[b_step]") DOT("7", "%[x1]", "%[y1]")
                        LOAD("%[x0]", "%[a]", "%[a_step]") DOT("11", "%[x2]", "%[y1]")
                            LOAD("%[x1]", "%[a]", "%[a_step]") DOT(
                                "15", "%[x3]", "%[y1]") LOAD("%[x2]", "%[a]", "%[a_step]")
                                LOAD("%[x3]", "%[a]", "%[a_back]") "1:\n\t" DOT("0", "%[x0]", "%[y0]")
                                    LOAD("%[y1]", "%[b]", "%[b_step]") DOT("4", "%[x1]", "%[y0]")
                                        DOT("8", "%[x2]", "%[y0]") DOT("12", "%[x3]", "%[y0]") DOT(
                                            "1", "%[x0]", "%[y1]") LOAD("%[y0]", "%[b]", "%[b_step]")
                                            DOT("5", "%[x1]", "%[y1]") DOT("9", "%[x2]", "%[y1]") DOT(
                                                "13", "%[x3]", "%[y1]") DOT("2", "%[x0]", "%[y0]")
                                                LOAD("%[y1]", "%[b]", "%[b_back]") DOT("6", "%[x1]", "%[y0]")
                                                    DOT("10", "%[x2]", "%[y0]") DOT("14", "%[x3]", "%[y0]")
                                                        DOT("3", "%[x0]", "%[y1]") DOT("7", "%[x1]", "%[y1]")
                                                            DOT("11", "%[x2]", "%[y1]")
                                                                DOT("15", "%[x3]", "%[y1]") ".option pop"
            : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]), "+r"(sum[4]), "+r"(sum[5]),
              "+r"(sum[6]), "+r"(sum[7]), "+r"(sum[8]), "+r"(sum[9]), "+r"(sum[10]), "+r"(sum[11]),
              "+r"(sum[12]), "+r"(sum[13]), "+r"(sum[14]), "+r"(sum[15]), [a] "+r"(a), [b] "+r"(b),
              [x0] "=&r"(x0), [x1] "=&r"(x1), [x2] "=&r"(x2), [x3] "=&r"(x3), [y0] "=&r"(y0), [y1] "+r"(y1)
            : [a_step] "r"(a_step), [a_back] "r"(a_back), [b_step] "r"(b_step), [b_back] "r"(b_back)
            : "memory");
#undef DOT
#undef LOAD
    return true;
}

/* The same for the columns of a and b: sum[4 r + c] continues with `pairs` > 0 pairs of rows of column r of
 * a and column c of b. A step is 16 dots, 10 loads and 8 packs; one word is loaded twice, because all
 * registers are in use. */
MCT_INLINE bool mct_sum_tn_4x4(float *sum, const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                               uint32_t b_stride, uint32_t pairs) {
    const mct_elem *q = b + b_stride;
    uint32_t a_step = a_stride * sizeof(mct_elem), b_step = 2 * b_stride * sizeof(mct_elem);
    uint32_t x0, x1, x2, x3, y, u = pairs;
#define DOT(s, x, y) MCT_XPULP_DOT("%" s, x, y)
#define LOAD(to, offset, from) "lw " to ", " offset "(" from ")\n\t"
#define NEXT(to, from, by) ".insn r 0x0b, 7, 0x10, " to ", " from ", " by "\n\t"
#define PACK(to, high, low) ".insn r 0x57, 0, 0x68, " to ", " high ", " low "\n\t"
#define HIGH(low, high) ".insn r 0x57, 0, 0x64, " low ", " high ", %[select]\n\t"
    __asm__(".option push\n\t"
            ".option norvc\n\t"
            ".insn i 0x7b, 4, x0, %[u], 68\n\t" /* lp.setup: the next 34 instructions, u times */
            LOAD("%[x1]", "4", "%[a]") NEXT("%[x0]", "%[a]", "%[a_step]") LOAD("%[x3]", "4", "%[a]")
                NEXT("%[x2]", "%[a]", "%[a_step]") PACK("%[u]", "%[x2]", "%[x0]") HIGH("%[x0]", "%[x2]")
                    PACK("%[x2]", "%[x3]", "%[x1]") HIGH("%[x1]", "%[x3]") LOAD("%[x3]", "4", "%[b]")
                        LOAD("%[y]", "4", "%[q]") PACK("%[y]", "%[y]", "%[x3]") DOT("2", "%[u]", "%[y]")
                            DOT("6", "%[x0]", "%[y]") DOT("10", "%[x2]", "%[y]") DOT("14", "%[x1]", "%[y]")
                                LOAD("%[y]", "4", "%[q]") HIGH("%[x3]", "%[y]") DOT("3", "%[u]", "%[x3]")
                                    DOT("7", "%[x0]", "%[x3]") DOT("11", "%[x2]", "%[x3]")
                                        DOT("15", "%[x1]", "%[x3]") NEXT("%[x3]", "%[b]", "%[b_step]")
                                            LOAD("%[y]", "0", "%[q]") PACK("%[y]", "%[y]", "%[x3]")
                                                DOT("0", "%[u]", "%[y]") DOT("4", "%[x0]", "%[y]")
                                                    DOT("8", "%[x2]", "%[y]") DOT("12", "%[x1]", "%[y]") NEXT(
                                                        "%[y]", "%[q]", "%[b_step]") HIGH("%[x3]", "%[y]")
                                                        DOT("1", "%[u]", "%[x3]") DOT("5", "%[x0]", "%[x3]")
                                                            DOT("9", "%[x2]", "%[x3]")
                                                                DOT("13", "%[x1]", "%[x3]") ".option pop"
            : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]), "+r"(sum[4]), "+r"(sum[5]),
              "+r"(sum[6]), "+r"(sum[7]), "+r"(sum[8]), "+r"(sum[9]), "+r"(sum[10]), "+r"(sum[11]),
              "+r"(sum[12]), "+r"(sum[13]), "+r"(sum[14]),
              "+r"(sum[15]), [a] "+r"(a), [b] "+r"(b), [q] "+r"(q), [x0] "=&r"(x0), [x1] "=&r"(x1),
              [x2] "=&r"(x2), [x3] "=&r"(x3), [y] "=&r"(y), [u] "+r"(u)
            : [a_step] "r"(a_step), [b_step] "r"(b_step), [select] "r"(0x00030001u)
            : "memory");
#undef DOT
#undef LOAD
#undef NEXT
#undef PACK
#undef HIGH
    return true;
}
#endif

#endif
