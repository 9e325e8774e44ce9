/* A hand-made model: two kernels that need no compiler of ours to test the link and the boards. */
#include "link.h"
#include "mct_model.h"

struct table {
    int32_t *counts; /* [8] one per worker */
    const float *x;  /* [1024] */
    float *y;        /* [1024] */
};

/* counts[worker] += 1 */
static void count(const void *args, uint32_t worker, uint32_t workers) {
    const struct table *t = args;
    (void)workers;
    t->counts[worker] += 1;
#ifdef CRASH
    *(volatile uint32_t *)0x40 = 1;
#endif
}

/* y = 2 x + 1 */
static void scale(const void *args, uint32_t worker, uint32_t workers) {
    const struct table *t = args;
    uint32_t first, last;
    mct_split(1024, worker, workers, &first, &last);
    for (uint32_t i = first; i < last; i++)
        t->y[i] = __builtin_fmaf(t->x[i], 2.0f, 1.0f);
}

/* 20 ms by the board's own clock, so that a quick machine is slow, too. */
static void idle(const void *args, uint32_t worker, uint32_t workers) {
    (void)args;
    (void)workers;
    uint32_t start = mct_ticks();
    while (worker == 0 && mct_ticks() - start < mct_ticks_per_second / 50)
        ;
}

__attribute__((aligned(16))) uint8_t mct_data[4096] = {1, 2, 3, 4};
__attribute__((aligned(16))) uint8_t mct_arena[1 << 20];
const uint32_t mct_data_size = sizeof mct_data, mct_arena_size = sizeof mct_arena;

static const struct table table = {(int32_t *)mct_arena, (const float *)(mct_arena + 4096),
                                   (float *)(mct_arena + 8192)};
static const struct mct_call step[] = {{count, &table, sizeof table}, {scale, &table, sizeof table}};
#define TEN(...)                                                                                             \
    __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__,  \
        __VA_ARGS__, __VA_ARGS__
static const struct mct_call slow[] = {{count, &table, sizeof table}, TEN(TEN({idle, 0, 0}))};

const struct mct_program mct_programs[] = {{"step", step, 2}, {"slow", slow, sizeof slow / sizeof *slow}};
const uint32_t mct_program_count = 2;
#ifndef BUILD_BYTE
#define BUILD_BYTE 0xab
#endif
const uint8_t mct_build_id[32] = {BUILD_BYTE};
#ifndef WORKERS
#define WORKERS 8
#endif
const uint32_t mct_workers = WORKERS;
