#include "work.h"

#include "link.h"
#include "mct_model.h"

static struct {
    uint32_t count;
    uint64_t time;
} work[MCT_WORK_KINDS];

#define WEAK __attribute__((weak))

WEAK uint32_t mct_work_clock(void) {
    return mct_ticks();
}

WEAK uint32_t mct_work_rate(void) {
    return mct_ticks_per_second;
}

void mct_work_add(uint32_t kind, uint32_t began) {
    uint32_t taken = mct_work_clock() - began;
    if (kind >= MCT_WORK_KINDS)
        kind = MCT_WORK_KINDS - 1;
    work[kind].count++;
    work[kind].time += taken;
}

uint32_t mct_work_words(uint32_t *words) {
    uint32_t programs = mct_program_count < MCT_WORK_PROGRAMS ? mct_program_count : MCT_WORK_PROGRAMS;
    *words++ = MCT_WORK_LAYOUT;
    *words++ = mct_work_rate();
    *words++ = programs;
    for (uint32_t kind = 0; kind < MCT_WORK_RUN + programs; kind++) {
        *words++ = work[kind].count;
        *words++ = (uint32_t)work[kind].time;
        *words++ = (uint32_t)(work[kind].time >> 32);
    }
    return 3 + 3 * (MCT_WORK_RUN + programs);
}
