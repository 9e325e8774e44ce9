/* Every instruction of PULP that kernels use, on operands that the host writes: out[i] = op(d[i], a[i],
 * b[i]).
 *
 * instructions.h, which the test makes, holds INSTRUCTION(name, "its .insn with %0, %1, %2") for each that
 * only computes. Those that load, store or loop are here. */
#include "mct_model.h"

enum { COUNT = 4096, MEMORY = 64 };

struct operands {
    uint32_t d[COUNT], a[COUNT], b[COUNT], out[COUNT];
    uint32_t memory[8][MEMORY]; /* for each worker */
};

__attribute__((aligned(16))) uint8_t mct_data[16];
__attribute__((aligned(16))) uint8_t mct_arena[sizeof(struct operands)];
const uint32_t mct_data_size = sizeof mct_data, mct_arena_size = sizeof mct_arena;
#define OPERANDS ((struct operands *)(void *)mct_arena)

typedef uint32_t (*operation)(uint32_t d, uint32_t a, uint32_t b, uint32_t *memory);

static inline void each(operation run, uint32_t worker, uint32_t workers) {
    struct operands *o = OPERANDS;
    uint32_t first, last;
    mct_split(COUNT, worker, workers, &first, &last);
    for (uint32_t i = first; i < last; i++)
        o->out[i] = run(o->d[i], o->a[i], o->b[i], o->memory[worker]);
}

#define PROGRAM(name, ...)                                                                                   \
    static uint32_t run_##name(uint32_t d, uint32_t a, uint32_t b, uint32_t *memory) {                       \
        (void)d, (void)a, (void)b, (void)memory;                                                             \
        __VA_ARGS__                                                                                          \
    }                                                                                                        \
    static void name(const void *args, uint32_t worker, uint32_t workers) {                                  \
        (void)args;                                                                                          \
        each(run_##name, worker, workers);                                                                   \
    }

#define INSTRUCTION(name, code) PROGRAM(name, __asm__(code : "+r"(d) : "r"(a), "r"(b)); return d;)
#include "instructions.h"
#undef INSTRUCTION

/* p = memory + 4 (a mod 8); four words and halves are read, with steps of all signs and kinds. */
PROGRAM(loads, {
    uint32_t *p = memory + 8 + a % 8, *start = p, w, x, y, z;
    int32_t by = (int32_t)(b % 17) * 2 - 16;
    for (uint32_t i = 0; i < MEMORY; i++)
        memory[i] = d + i * 0x9e3779b9u;
    __asm__ volatile(".insn i 0x0b, 2, %0, 12(%4)\n\t"
                     ".insn i 0x0b, 1, %1, -6(%4)\n\t"
                     ".insn i 0x0b, 5, %2, 2(%4)\n\t"
                     ".insn r 0x0b, 7, 0x10, %3, %4, %5"
                     : "=&r"(w), "=&r"(x), "=&r"(y), "=&r"(z), "+&r"(p)
                     : "r"(by)
                     : "memory");
    return (w ^ x * 3 ^ y * 5 ^ z * 7) + ((uint32_t)(uintptr_t)p - (uint32_t)(uintptr_t)start) * 11;
})

/* Words and halves written over others, then all of them summed up. */
PROGRAM(stores, {
    uint32_t *p = memory + 8 + a % 8, *start = p, sum = 0;
    int32_t by = (int32_t)(b % 9) * 4 - 16;
    for (uint32_t i = 0; i < MEMORY; i++)
        memory[i] = i;
    __asm__ volatile(".insn s 0x2b, 2, %1, 8(%0)\n\t"
                     ".insn s 0x2b, 1, %2, -30(%0)\n\t"
                     ".insn s 0x2b, 1, %1, 2(%0)\n\t"
                     ".insn s 0x2b, 2, %2, -4(%0)\n\t"
                     ".insn r 0x2b, 6, 0x00, %3, %0, %1"
                     : "+&r"(p)
                     : "r"(d), "r"(b), "r"(by)
                     : "memory");
    for (uint32_t i = 0; i < MEMORY; i++)
        sum = sum * 31 + memory[i];
    return sum + ((uint32_t)(uintptr_t)p - (uint32_t)(uintptr_t)start) * 11;
})

#define BODY(text) ".option push\n\t.option norvc\n\t" text "\n\t.option pop"
#define MAC(to) ".insn r 0x33, 0, 0x21, " to ", %2, %3\n\t" /* to += a * b */

/* Three instructions a mod 6 times: 0 does them once, as 1. */
PROGRAM(loop, {
    uint32_t count = a % 6, plain = 0;
    __asm__(BODY(".insn i 0x7b, 4, x0, %4, 6\n\t"
                 "addi %1, %1, 3\n\t" MAC("%0") MAC("%0"))
            : "+&r"(d), "+&r"(plain)
            : "r"(a), "r"(b), "r"(count));
    return d ^ plain << 24;
})

/* Two instructions 7 times, 2000 times, and once. */
PROGRAM(loop_immediate, {
    uint32_t plain = 0;
    __asm__(
        BODY(".insn i 0x7b, 5, x1, x4, 7\n\t"
             "addi %1, %1, 1\n\t" MAC("%0") ".insn i 0x7b, 5, x0, x4, 20\n\t"
                                            "addi %1, %1, 1\n\t" MAC("%0") ".insn i 0x7b, 5, x0, x4, 1\n\t"
                                                                           "addi %1, %1, 1\n\t" MAC("%0"))
        : "+&r"(d), "+&r"(plain)
        : "r"(a), "r"(b));
    return d ^ plain << 24;
})

/* Loop 0 within loop 1; then both with the same last instruction. */
PROGRAM(loop_nested, {
    uint32_t inner = a % 5, outer = b % 4, plain = 0;
    __asm__(BODY(".insn i 0x7b, 4, x1, %5, 12\n\t"
                 "addi %1, %1, 1\n\t"
                 ".insn i 0x7b, 4, x0, %4, 4\n\t"
                 "addi %1, %1, 16\n\t" MAC("%0") "addi %1, %1, 2\n\t" MAC("%0"))
            : "+&r"(d), "+&r"(plain)
            : "r"(a), "r"(b), "r"(inner), "r"(outer));
    __asm__(BODY(".insn i 0x7b, 4, x1, %5, 6\n\t"
                 ".insn i 0x7b, 4, x0, %4, 4\n\t"
                 "addi %1, %1, 1\n\t" MAC("%0"))
            : "+&r"(d), "+&r"(plain)
            : "r"(a), "r"(b), "r"(inner), "r"(outer));
    return d ^ plain << 20;
})

/* What no emulation can do. */
PROGRAM(unknown, __asm__(".insn r 0x57, 0, 0x69, %0, %1, %2" : "+r"(d) : "r"(a), "r"(b)); return d;)
PROGRAM(loop_unseen, __asm__(BODY(".insn i 0x7b, 5, x0, x4, 3\n\t" MAC("%0") "addi %1, %1, 1") : "+&r"(d),
                             "+&r"(a) : "r"(b), "r"(b));
        return d + a;)

#define CALL(name) static const struct mct_call call_##name[] = {{name, 0, 0}};
#define INSTRUCTION(name, code) CALL(name)
#include "instructions.h"
CALL(loads)
CALL(stores)
CALL(loop)
CALL(loop_immediate)
CALL(loop_nested)
CALL(unknown)
CALL(loop_unseen)
#undef INSTRUCTION

#define ENTRY(name) {#name, call_##name, 1},
#define INSTRUCTION(name, code) ENTRY(name)
const struct mct_program mct_programs[] = {
#include "instructions.h"
    ENTRY(loads) ENTRY(stores) ENTRY(loop) ENTRY(loop_immediate) ENTRY(loop_nested) ENTRY(unknown)
        ENTRY(loop_unseen)};
const uint32_t mct_program_count = sizeof mct_programs / sizeof *mct_programs;
const uint8_t mct_build_id[32] = {0xab};
const uint32_t mct_workers = 8;
