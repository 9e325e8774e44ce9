/* PULP's instructions for a core that has none of them, one after another at the illegal-instruction trap.
 *
 * Exactly those of which kernels/simd makes use, with the bits of PULP's model: lane 0 is bits 15:0, FP16 and
 * FP32 are rounded to nearest even, a NaN result is the canonical one. Hardware loops live here, too: at the
 * end of a body nothing traps by itself, so a body must end on an emulated instruction. */
#include <stdbool.h>
#include <stdint.h>

#include "board.h"

enum { HARTS = 9, LOOPS = 2, TRAP_ILLEGAL_INSTRUCTION = 64 + 2, REGISTER = 31 };

static struct loop {
    uint32_t start; /* first instruction of the body */
    uint32_t end;   /* its last instruction */
    uint32_t count; /* how often the body is still to end */
} loops[HARTS][LOOPS];

/* ---- arithmetic: the new rd of its old value and the operands ---------------------------------------- */

static _Float16 half(uint32_t bits) {
    uint16_t low = (uint16_t)bits;
    _Float16 value;
    __builtin_memcpy(&value, &low, sizeof value);
    return value;
}

static uint32_t half_bits(_Float16 value) {
    uint16_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float single(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t single_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t word(uint32_t high, uint32_t low) {
    return high << 16 | (low & 0xffff);
}

#define OPERATION(name, result)                                                                              \
    static uint32_t name(uint32_t d, uint32_t a, uint32_t b) {                                               \
        (void)d, (void)a, (void)b;                                                                           \
        return result;                                                                                       \
    }

/* An operation on each half of the operands; that on the low halves alone is <name>_lane. */
#define LANES(name, result)                                                                                  \
    OPERATION(name##_lane, result)                                                                           \
    OPERATION(name, word(name##_lane(d >> 16, a >> 16, b >> 16), name##_lane(d, a, b)))

static uint32_t minimum(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("fmin.h %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

static uint32_t maximum(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("fmax.h %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* To nearest even, saturated; NaN gives the greatest. */
static uint32_t integer(uint32_t a) {
    int32_t result;
    __asm__("fcvt.w.h %0, %1, rne" : "=r"(result) : "r"(a));
    return (uint32_t)(result > INT16_MAX ? INT16_MAX : result < INT16_MIN ? INT16_MIN : result);
}

LANES(vfadd, half_bits(half(a) + half(b)))
LANES(vfsub, half_bits(half(a) - half(b)))
LANES(vfmul, half_bits(half(a) * half(b)))
LANES(vfdiv, half_bits(half(a) / half(b)))
LANES(vfmin, minimum(a, b))
LANES(vfmax, maximum(a, b))
LANES(vfmac, half_bits(__builtin_fmaf16(half(a), half(b), half(d))))
LANES(vfcvt_x_h, integer(a))
LANES(vfcvt_h_x, half_bits((_Float16)(int16_t)a))
LANES(vfsgnjn, (a & 0x7fff) | (~b & 0x8000))
/* A NaN is not even unequal to anything. */
LANES(vfeq, half(a) == half(b))
LANES(vfne, half(a) < half(b) || half(a) > half(b))
LANES(vflt, half(a) < half(b))
LANES(vfge, half(a) >= half(b))
LANES(vfle, half(a) <= half(b))
LANES(vfgt, half(a) > half(b))
LANES(pv_max, (uint32_t)((int16_t)a > (int16_t)b ? a : b))
LANES(pv_cmpgt, (int16_t)a > (int16_t)b ? 0xffff : 0)
LANES(pv_cmpgeu, (uint16_t)a >= (uint16_t)b ? 0xffff : 0)

/* a1 * b1 + a0 * b0: products of halves are exact, so this rounds once. */
static float pair(uint32_t a, uint32_t b) {
    return __builtin_fmaf((float)half(a >> 16), (float)half(b >> 16), (float)half(a) * (float)half(b));
}

OPERATION(vfdotpex, single_bits(single(d) + pair(a, b)))
OPERATION(vfndotpex, single_bits(single(d) - pair(a, b)))
OPERATION(vfcpka, word(half_bits((_Float16)single(b)), half_bits((_Float16)single(a))))
OPERATION(fmulex, single_bits((float)half(a) * (float)half(b)))
OPERATION(fmacex, single_bits(__builtin_fmaf((float)half(a), (float)half(b), single(d))))
OPERATION(pv_pack, word(a, b))
OPERATION(p_mac, d + a * b)
OPERATION(p_min, (int32_t)a < (int32_t)b ? a : b)
OPERATION(p_max, (int32_t)a > (int32_t)b ? a : b)
OPERATION(p_exths, (uint32_t)(int16_t)a)
OPERATION(p_ror, a >> (b & 31) | a << (-b & 31))

/* The half that two bits of a selector name: of rd, or of rs1 when bit 1 is set. */
static uint32_t chosen(uint32_t d, uint32_t a, uint32_t selector) {
    return (selector & 2 ? a : d) >> (selector & 1 ? 16 : 0);
}

OPERATION(pv_shuffle2, word(chosen(d, a, b >> 16), chosen(d, a, b)))

/* ---- instructions ------------------------------------------------------------------------------------ */

enum kind {
    COMPUTE,  /* rd = operation(rd, rs1, rs2) */
    REPEAT,   /* the same with both halves of rs2 its low one */
    LOAD,     /* rd = memory at rs1; rs1 += immediate */
    LOAD_BY,  /* rd = memory at rs1; rs1 += rs2 */
    STORE,    /* memory at rs1 = rs2; rs1 += immediate */
    STORE_BY, /* memory at rs1 = rs2; rs1 += the register in rd's place */
    LOOP,     /* repeat the next instructions rs1 times */
    LOOP_FOR, /* or an immediate number of times */
};

enum { HALF = 1, WORD = 2, UNSIGNED_HALF = 5 };

struct instruction {
    uint32_t mask, match;
    enum kind kind;
    uint32_t (*operation)(uint32_t d, uint32_t a, uint32_t b);
};

#define R(opcode, funct3, funct7) 0xfe00707f, ((uint32_t)(funct7) << 25 | (funct3) << 12 | (opcode))
#define R_RS2(opcode, funct3, funct7, rs2)                                                                   \
    0xfff0707f, ((uint32_t)(funct7) << 25 | (rs2) << 20 | (funct3) << 12 | (opcode))
#define I(opcode, funct3) 0x707f, ((funct3) << 12 | (opcode))
#define I_LOOP(funct3) 0x7f7f, ((funct3) << 12 | 0x7b)

/* The most frequent first. */
static const struct instruction instructions[] = {
    {R(0x33, 0, 0x4b), COMPUTE, vfdotpex},
    {I(0x0b, WORD), LOAD, 0},
    {R(0x0b, 7, 0x10), LOAD_BY, 0},
    {R(0x57, 0, 0x68), COMPUTE, pv_pack},
    {R(0x57, 0, 0x64), COMPUTE, pv_shuffle2},
    {R(0x33, 4, 0x4b), REPEAT, vfdotpex},
    {I(0x0b, HALF), LOAD, 0},
    {I(0x0b, UNSIGNED_HALF), LOAD, 0},
    {I(0x2b, WORD), STORE, 0},
    {I(0x2b, HALF), STORE, 0},
    {R(0x2b, 6, 0x00), STORE_BY, 0},
    {I_LOOP(4), LOOP, 0},
    {I_LOOP(5), LOOP_FOR, 0},
    {R(0x33, 2, 0x41), COMPUTE, vfadd},
    {R(0x33, 6, 0x41), REPEAT, vfadd},
    {R(0x33, 2, 0x42), COMPUTE, vfsub},
    {R(0x33, 6, 0x42), REPEAT, vfsub},
    {R(0x33, 2, 0x43), COMPUTE, vfmul},
    {R(0x33, 6, 0x43), REPEAT, vfmul},
    {R(0x33, 2, 0x44), COMPUTE, vfdiv},
    {R(0x33, 6, 0x44), REPEAT, vfdiv},
    {R(0x33, 2, 0x45), COMPUTE, vfmin},
    {R(0x33, 2, 0x46), COMPUTE, vfmax},
    {R(0x33, 2, 0x48), COMPUTE, vfmac},
    {R(0x33, 6, 0x48), REPEAT, vfmac},
    {R(0x33, 0, 0x5d), COMPUTE, vfndotpex},
    {R(0x33, 2, 0x58), COMPUTE, vfcpka},
    {R_RS2(0x33, 2, 0x4c, 2), COMPUTE, vfcvt_x_h},
    {R_RS2(0x33, 2, 0x4c, 3), COMPUTE, vfcvt_h_x},
    {R(0x33, 2, 0x4e), COMPUTE, vfsgnjn},
    {R(0x33, 2, 0x50), COMPUTE, vfeq},
    {R(0x33, 2, 0x51), COMPUTE, vfne},
    {R(0x33, 2, 0x52), COMPUTE, vflt},
    {R(0x33, 2, 0x53), COMPUTE, vfge},
    {R(0x33, 2, 0x54), COMPUTE, vfle},
    {R(0x33, 2, 0x55), COMPUTE, vfgt},
    {R(0x53, 0, 0x26), COMPUTE, fmulex},
    {R(0x53, 0, 0x2a), COMPUTE, fmacex},
    {R(0x57, 0, 0x18), COMPUTE, pv_max},
    {R(0x57, 0, 0x0a), COMPUTE, pv_cmpgt},
    {R(0x57, 0, 0x1e), COMPUTE, pv_cmpgeu},
    {R(0x33, 0, 0x21), COMPUTE, p_mac},
    {R(0x33, 4, 0x02), COMPUTE, p_min},
    {R(0x33, 6, 0x02), COMPUTE, p_max},
    {R_RS2(0x33, 4, 0x08, 0), COMPUTE, p_exths},
    {R(0x33, 5, 0x04), COMPUTE, p_ror},
};

static const struct instruction *find(uint32_t code) {
    for (uint32_t i = 0; i < sizeof instructions / sizeof *instructions; i++)
        if ((code & instructions[i].mask) == instructions[i].match)
            return instructions + i;
    return 0;
}

/* ---- errors ------------------------------------------------------------------------------------------ */

void mct_trap_print(const char *text);

static char *put_text(char *at, const char *text) {
    while (*text)
        *at++ = *text++;
    return at;
}

static char *put_number(char *at, uint32_t value) {
    at = put_text(at, "0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

/* End the simulator with a line on its standard error. */
static _Noreturn void refuse(const char *what, uint32_t code, uint32_t pc, const char *why) {
    char text[160], *at = put_text(text, what);
    at = put_number(put_text(at, " "), code);
    at = put_number(put_text(at, " at "), pc);
    at = put_text(put_text(at, why), "\n");
    *at = 0;
    mct_trap_print(text);
    mct_finish(TRAP_ILLEGAL_INSTRUCTION);
}

/* ---- emulation --------------------------------------------------------------------------------------- */

static uint32_t load(uint32_t address, uint32_t size) {
    if (size == WORD)
        return REGISTER32(address);
    uint32_t bits = *(volatile uint16_t *)(uintptr_t)address;
    return size == HALF ? (uint32_t)(int16_t)bits : bits;
}

static void store(uint32_t address, uint32_t size, uint32_t value) {
    if (size == WORD)
        REGISTER32(address) = value;
    else
        *(volatile uint16_t *)(uintptr_t)address = (uint16_t)value;
}

static void begin_loop(struct loop *loop, uint32_t pc, uint32_t offset, uint32_t count) {
    *loop = (struct loop){pc + 4, pc + 2 * offset, count};
    uint32_t last = REGISTER32(loop->end);
    if (loop->end <= pc || !find(last))
        refuse("the hardware loop with the last instruction", last, loop->end, ", which is not emulated");
}

/* Where the program goes on after the instruction at `pc`. The inner loop, 0, has precedence. */
static uint32_t next(struct loop *own, uint32_t pc) {
    for (struct loop *loop = own; loop < own + LOOPS; loop++)
        if (loop->count && loop->end == pc && --loop->count)
            return loop->start;
    return pc + 4;
}

/* From trap.S: run the instruction `code` at `pc` on the registers `x`; returns the next program counter. */
uint32_t mct_emulate(uint32_t x[32], uint32_t code, uint32_t pc, uint32_t hart);
uint32_t mct_emulate(uint32_t x[32], uint32_t code, uint32_t pc, uint32_t hart) {
    uint32_t *rd = x + (code >> 7 & REGISTER), *rs1 = x + (code >> 15 & REGISTER);
    uint32_t rs2 = x[code >> 20 & REGISTER], size = code >> 12 & 7, address = *rs1;
    int32_t immediate = (int32_t)code >> 20;
    struct loop *own = loops[hart];
    const struct instruction *instruction = find(code);
    if (!instruction)
        refuse("illegal instruction", code, pc, "");
    switch (instruction->kind) {
    case COMPUTE:
        *rd = instruction->operation(*rd, *rs1, rs2);
        break;
    case REPEAT:
        *rd = instruction->operation(*rd, *rs1, word(rs2, rs2));
        break;
    case LOAD:
        *rd = load(address, size);
        *rs1 = address + (uint32_t)immediate;
        break;
    case LOAD_BY:
        *rd = load(address, WORD);
        *rs1 = address + rs2;
        break;
    case STORE:
        store(address, size, rs2);
        *rs1 = address + (uint32_t)(((int32_t)code >> 25) * 32) + (code >> 7 & 31);
        break;
    case STORE_BY:
        store(address, WORD, rs2);
        *rs1 = address + *rd;
        break;
    case LOOP:
        begin_loop(own + (code >> 7 & 1), pc, code >> 20, *rs1);
        return pc + 4;
    case LOOP_FOR:
        begin_loop(own + (code >> 7 & 1), pc, code >> 15 & 31, code >> 20);
        return pc + 4;
    }
    x[0] = 0;
    return next(own, pc);
}
