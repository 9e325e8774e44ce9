#include "instructions.h"

volatile uint32_t mct_skips_illegal;

#ifdef MCT_XPULP
#define MCT_ELEM 16
#include "mct_model.h"
#include "simd/simd_xpulp.h"

/* Run an instruction, or nothing if it is illegal and skipped. */
#define TRY(text, result, a, b) __asm__ volatile(text : "+r"(result) : "r"(a), "r"(b) : "t0", "t1", "memory")

enum {
    HALF_1 = 0x3c00, /* binary16 */
    HALF_2 = 0x4000,
    HALF_3 = 0x4200,
    HALF_4 = 0x4400,
    HALF_2_TO_MINUS_12 = 0x0c00,
    HALF_2_TO_MINUS_24 = 0x0001,
    FLOAT_1 = 0x3f800000, /* binary32 */
    FLOAT_2 = 0x40000000,
    FLOAT_21 = 0x41a80000,
};

static uint32_t pair(uint32_t low, uint32_t high) {
    return high << 16 | low;
}

static bool dot_works(void) {
    uint32_t sum = 0x41200000; /* 10 */
    TRY(MCT_XPULP_DOT("%0", "%1", "%2"), sum, pair(HALF_1, HALF_2), pair(HALF_3, HALF_4));
    return sum == FLOAT_21;
}

/* 1 + (2^-24 + 2^-48) is 1 when the sum of the products is rounded before it is added, else the next number.
 */
static bool dot_rounds_twice(void) {
    uint32_t sum = FLOAT_1, both = pair(HALF_2_TO_MINUS_12, HALF_2_TO_MINUS_24);
    TRY(MCT_XPULP_DOT("%0", "%1", "%2"), sum, both, both);
    return sum == FLOAT_1;
}

static bool packs_low(void) {
    uint32_t packed = 0;
    TRY(".insn r 0x57, 0, 0x68, %0, %1, %2", packed, 0x11112222, 0x33334444);
    return packed == 0x22224444;
}

static bool packs_high(void) {
    uint32_t packed = 0x33334444;
    TRY(".insn r 0x57, 0, 0x64, %0, %1, %2", packed, 0x11112222, 0x00030001);
    return packed == 0x11113333;
}

static bool narrows(void) {
    uint32_t packed = 0;
    TRY(".insn r 0x33, 2, 0x58, %0, %1, %2", packed, FLOAT_1, FLOAT_2);
    return packed == pair(HALF_1, HALF_2);
}

static bool compares(void) {
    uint32_t packed = 0;
    TRY(".insn r 0x57, 0, 0x18, %0, %1, %2", packed, 0x80010005, 0);
    return packed == 5;
}

static bool rotates(void) {
    uint32_t rotated = 0;
    TRY(".insn r 0x33, 5, 0x04, %0, %1, %2", rotated, 0x12345678, 8);
    return rotated == 0x78123456;
}

static bool loads_and_steps(void) {
    static const uint32_t words[] = {1, 2, 3};
    const uint32_t *at = words;
    uint32_t word = 0;
    __asm__ volatile(".insn r 0x0b, 7, 0x10, %0, %1, %2"
                     : "+r"(word), "+r"(at)
                     : "r"(8), "m"(words)
                     : "t0", "t1");
    return word == 1 && at == words + 2;
}

static bool stores_and_steps(void) {
    uint32_t words[2] = {1, 2}, *at = words;
    __asm__ volatile(".insn r 0x2b, 6, 0, %2, %0, %1" : "+r"(at) : "r"(3), "r"(4) : "t0", "t1", "memory");
    return words[0] == 3 && words[1] == 2 && at == words + 1;
}

/* 2 + 3 * 4 = 14, whatever the other halves are */
static bool multiplies_low(void) {
    uint32_t sum = FLOAT_2;
    TRY(".insn r 0x53, 0, 0x2a, %0, %1, %2", sum, pair(HALF_3, HALF_1), pair(HALF_4, HALF_2));
    return sum == 0x41600000;
}

/* The loop ends on an instruction of PULP's, as all of ours do for the emulation on QEMU. */
static bool loops(void) {
    uint32_t count = 0;
    TRY(".option push\n\t"
        ".option norvc\n\t"
        ".insn i 0x7b, 4, x0, %1, 4\n\t"
        "addi %0, %0, 1\n\t"
        ".insn r 0x57, 0, 0x18, %0, %0, %2\n\t"
        ".option pop",
        count, 5, 0);
    return count == 5;
}

static const struct {
    bool (*works)(void);
    const char *text;
} instructions[] = {
    {dot_works, "the cores lack vfdotpex.s.h as this build encodes it"},
    {dot_rounds_twice, "the cores' vfdotpex.s.h rounds once, this build is for pairwise rounding"},
    {packs_low, "the cores lack pv.pack.h as this build encodes it"},
    {packs_high, "the cores lack pv.shuffle2.h as this build encodes it"},
    {narrows, "the cores lack vfcpka.h.s as this build encodes it"},
    {compares, "the cores lack pv.max.h as this build encodes it"},
    {rotates, "the cores lack p.ror as this build encodes it"},
    {loads_and_steps, "the cores lack p.lw with register post-increment as this build encodes it"},
    {stores_and_steps, "the cores lack p.sw with register post-increment as this build encodes it"},
    {multiplies_low, "the cores lack fmacex.s.h as this build encodes it"},
    {loops, "the cores lack lp.setup as this build encodes it"},
};

static const char *wrong;

static void examine(const void *args, uint32_t worker, uint32_t workers) {
    (void)args, (void)workers;
    if (worker != 0)
        return;
    mct_skips_illegal = 1;
    for (uint32_t i = 0; i < sizeof instructions / sizeof *instructions && !wrong; i++)
        if (!instructions[i].works())
            wrong = instructions[i].text;
    mct_skips_illegal = 0;
}

const char *mct_unfit(void) {
    static bool examined;
    if (!examined)
        mct_team_run(examine, 0);
    examined = true;
    return wrong;
}

#else
const char *mct_unfit(void) {
    return 0;
}
#endif
