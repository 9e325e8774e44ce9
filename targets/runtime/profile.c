#include "profile.h"
#include "mct_model.h"

uint32_t *mct_profile_counts, *mct_profile_transfers;

static struct {
    enum mct_profile_mode mode;
    uint32_t *words;
    uint32_t capacity, record_words;
    uint32_t records, lost;
    uint32_t run_began, message_began, messages;
    uint32_t *call; /* the record of the kernel call that runs */
} state;

#define WEAK __attribute__((weak))

WEAK const struct mct_profile_board mct_profile_board = {1, 0, {0}};

WEAK uint32_t mct_profile_clock(void) {
    return 0;
}

WEAK uint32_t *mct_profile_memory(uint32_t *bytes) {
    *bytes = 0;
    return 0;
}

void mct_profile_start(enum mct_profile_mode mode) {
    uint32_t bytes;
    state.words = mct_profile_memory(&bytes);
    state.record_words = MCT_PROFILE_HEAD + mct_active_workers * mct_profile_board.count;
    state.capacity = bytes / 4 / state.record_words;
    state.records = state.lost = 0;
    state.mode = mode;
}

uint32_t mct_profile_facts(uint32_t *facts) {
    const uint32_t fixed[] = {MCT_PROFILE_LAYOUT, mct_profile_board.rate, state.capacity,
                              state.record_words, mct_active_workers,     mct_profile_board.count};
    const uint32_t count = sizeof fixed / sizeof *fixed;
    for (uint32_t i = 0; i < count; i++)
        facts[i] = fixed[i];
    for (uint32_t i = 0; i < mct_profile_board.count; i++)
        facts[count + i] = mct_profile_board.counts[i];
    return count + mct_profile_board.count;
}

struct mct_profile_log mct_profile_log(void) {
    return (struct mct_profile_log){state.words, state.records, state.lost, state.record_words};
}

/* A new record, its counts yet to be written, or null when there is no room. */
static uint32_t *append(uint32_t program, uint32_t call) {
    if (state.records == state.capacity) {
        state.lost++;
        return 0;
    }
    uint32_t *record = state.words + state.records++ * state.record_words;
    record[0] = program;
    record[1] = call;
    return record;
}

void mct_profile_run_begins(void) {
    if (state.mode == MCT_PROFILE_OFF)
        return;
    state.messages = 0;
    state.run_began = mct_profile_clock();
}

void mct_profile_run_ends(uint32_t program) {
    if (state.mode == MCT_PROFILE_OFF)
        return;
    uint32_t now = mct_profile_clock(), *record = append(program, (uint32_t)MCT_PROFILE_RUN);
    if (!record)
        return;
    record[2] = state.run_began;
    record[3] = now;
    record[4] = state.messages;
    for (uint32_t i = MCT_PROFILE_HEAD; i < state.record_words; i++)
        record[i] = 0;
}

void mct_profile_call_begins(uint32_t program, uint32_t call) {
    state.call = state.mode == MCT_PROFILE_CALLS ? append(program, call) : 0;
    if (!state.call)
        return;
    state.call[4] = (uint32_t)MCT_PROFILE_UNKNOWN;
    mct_profile_transfers = state.call + 4;
    mct_profile_counts = state.call + MCT_PROFILE_HEAD;
    state.call[2] = mct_profile_clock();
}

void mct_profile_call_ends(void) {
    if (!state.call)
        return;
    state.call[3] = mct_profile_clock();
    mct_profile_counts = 0;
    state.call = 0;
}

void mct_profile_message_begins(void) {
    if (state.mode != MCT_PROFILE_OFF)
        state.message_began = mct_profile_clock();
}

void mct_profile_message_ends(void) {
    if (state.mode != MCT_PROFILE_OFF)
        state.messages += mct_profile_clock() - state.message_began;
}
