#include <stdbool.h>
#include <stdint.h>

#include "mct_model.h"
#include "frame.h"
#include "instructions.h"
#include "link.h"
#include "little_endian.h"
#include "profile.h"
#include "protocol.h"
#include "store.h"
#include "store_requests.h"
#include "work.h"

enum { RANGE = 12 }; /* bytes of a region, an offset and a length */

/* Outcome of a command: a status, and the length of the response (or the error's text) in mct_response_body.
 */
struct outcome {
    uint8_t status;
    uint32_t length;
};

static struct outcome fail(enum mct_status status, const char *text) {
    uint32_t length = 0;
    for (; text[length]; length++)
        mct_response_body[length] = (uint8_t)text[length];
    return (struct outcome){(uint8_t)status, length};
}

static struct outcome done(uint32_t length) {
    return (struct outcome){MCT_OK, length};
}

uint8_t *mct_memory(uint32_t region, uint32_t offset, uint32_t length) {
    if (region > 1)
        return 0;
    uint32_t size = region ? mct_arena_size : mct_data_size;
    if (offset > size || length > size - offset)
        return 0;
    return (region ? mct_arena : mct_data) + offset;
}

static uint8_t *memory(const uint8_t *range) {
    return mct_memory(mct_get32(range), mct_get32(range + 4), mct_get32(range + 8));
}

/* Length of the first `count` writes in `bytes`, checked; or an error. */
static struct outcome check_writes(const uint8_t *bytes, uint32_t length, uint32_t count) {
    uint32_t at = 0;
    for (; count; count--) {
        if (length - at < RANGE || mct_get32(bytes + at + 8) > length - at - RANGE)
            return fail(MCT_BAD_BODY, "a write is longer than its frame");
        if (!memory(bytes + at))
            return fail(MCT_BAD_RANGE, "a write is outside its region");
        at += RANGE + mct_get32(bytes + at + 8);
    }
    return done(at);
}

static void apply_writes(const uint8_t *bytes, uint32_t length) {
    for (uint32_t at = 0; at < length; at += RANGE + mct_get32(bytes + at + 8))
        memcpy(memory(bytes + at), bytes + at + RANGE, mct_get32(bytes + at + 8));
}

/* Length of the response to all reads in `bytes`, checked; or an error. */
static struct outcome check_reads(const uint8_t *bytes, uint32_t length) {
    uint32_t total = 0;
    if (length % RANGE)
        return fail(MCT_BAD_BODY, "a read is cut off");
    for (uint32_t at = 0; at < length; at += RANGE) {
        if (!memory(bytes + at))
            return fail(MCT_BAD_RANGE, "a read is outside its region");
        if (mct_get32(bytes + at + 8) > MCT_MAXIMUM_BODY - total)
            return fail(MCT_TOO_LONG, "the reads are longer than a frame's body");
        total += mct_get32(bytes + at + 8);
    }
    return done(total);
}

static void apply_reads(const uint8_t *bytes, uint32_t length) {
    uint8_t *to = mct_response_body;
    for (uint32_t at = 0; at < length; at += RANGE) {
        memcpy(to, memory(bytes + at), mct_get32(bytes + at + 8));
        to += mct_get32(bytes + at + 8);
    }
}

static bool greeted;

static struct outcome hello(const struct mct_request *request) {
    if (request->length < 4)
        return fail(MCT_BAD_BODY, "HELLO is cut off");
    greeted = true;
    uint32_t wanted = mct_get32(request->body);
    mct_active_workers = wanted && wanted < mct_workers ? wanted : mct_workers;
    mct_profile_start(MCT_PROFILE_OFF);
    const char *unfit = mct_unfit();
    if (unfit)
        return fail(MCT_UNFIT, unfit);
    const uint32_t facts[] = {MCT_PROTOCOL_VERSION, MCT_MAXIMUM_BODY, mct_active_workers,
                              mct_program_count,    mct_data_size,    mct_arena_size};
    for (uint32_t i = 0; i < 6; i++)
        mct_put32(mct_response_body + 4 * i, facts[i]);
    memcpy(mct_response_body + sizeof facts, mct_build_id, 32);
    return done(sizeof facts + 32);
}

/* A board without anything to prepare. */
__attribute__((weak)) void mct_team_run_call(const struct mct_call *call, const struct mct_call *next) {
    (void)next;
    mct_team_run(call->kernel, call->args);
}

static struct outcome run_calls(const struct mct_request *request) {
    if (request->length < 16)
        return fail(MCT_BAD_BODY, "RUN is cut off");
    const uint8_t *lists = request->body + 16;
    uint32_t program = mct_get32(request->body), first = mct_get32(request->body + 4),
             last = mct_get32(request->body + 8);
    uint32_t length = request->length - 16;
    if (program >= mct_program_count)
        return fail(MCT_BAD_PROGRAM, "there is no such Program");
    const struct mct_call *calls = mct_programs[program].calls;
    if (first > last || last > mct_programs[program].count)
        return fail(MCT_BAD_PROGRAM, "the Program has no such kernel calls");
    struct outcome writes = check_writes(lists, length, mct_get32(request->body + 12));
    if (writes.status)
        return writes;
    struct outcome reads = check_reads(lists + writes.length, length - writes.length);
    if (reads.status)
        return reads;
    apply_writes(lists, writes.length);
    uint32_t noted = mct_ticks();
    mct_profile_run_begins();
    for (uint32_t i = first; i < last; i++) {
        const bool due = mct_ticks() - noted > mct_ticks_per_second / 4;
        mct_profile_call_begins(program, i);
        /* nothing runs during a message, whose time does not count */
        mct_team_run_call(&calls[i], due || i + 1 == last ? 0 : &calls[i + 1]);
        mct_profile_call_ends();
        if (due) {
            mct_profile_message_begins();
            noted = mct_ticks();
            mct_frame_note(MCT_BUSY, request->sequence, i + 1 - first, last - first);
            mct_profile_message_ends();
        }
    }
    mct_profile_run_ends(program);
    apply_reads(lists + writes.length, length - writes.length);
    return reads;
}

/* Words as the body of a response, from the byte `at`; returns where they end. */
static uint32_t put_words(uint32_t at, const uint32_t *words, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        mct_put32(mct_response_body + at + 4 * i, words[i]);
    return at + 4 * count;
}

static struct outcome profile(const struct mct_request *request) {
    if (request->length != 4 || mct_get32(request->body) > MCT_PROFILE_RUNS)
        return fail(MCT_BAD_BODY, "PROFILE has no such mode");
    mct_profile_start((enum mct_profile_mode)mct_get32(request->body));
    uint32_t facts[MCT_PROFILE_MOST_FACTS];
    return done(put_words(0, facts, mct_profile_facts(facts)));
}

static struct outcome read_profile(const struct mct_request *request) {
    if (request->length != 8)
        return fail(MCT_BAD_BODY, "READ_PROFILE is cut off");
    uint32_t first = mct_get32(request->body), count = mct_get32(request->body + 4);
    struct mct_profile_log log = mct_profile_log();
    if (first > log.records || count > log.records - first)
        return fail(MCT_BAD_RANGE, "the log has no such records");
    if (count && count > (MCT_MAXIMUM_BODY - 8) / 4 / log.record_words)
        return fail(MCT_TOO_LONG, "the records are longer than a frame's body");
    const uint32_t state[] = {log.records, log.lost};
    uint32_t at = put_words(0, state, 2);
    return done(put_words(at, log.words + first * log.record_words, count * log.record_words));
}

_Static_assert(4 * MCT_WORK_WORDS <= MCT_MAXIMUM_BODY, "what requests have taken must fit a frame");

static struct outcome read_work(void) {
    uint32_t words[MCT_WORK_WORDS];
    return done(put_words(0, words, mct_work_words(words)));
}

/* The request that runs, and when its last sign of life was. */
static const struct mct_request *running;
static uint32_t noted;

void mct_note_progress(uint32_t done, uint32_t total) {
    if (!running || mct_ticks() - noted <= mct_ticks_per_second / 4)
        return;
    noted = mct_ticks();
    mct_frame_note(MCT_BUSY, running->sequence, done, total);
}

static struct outcome store_command(const struct mct_request *request) {
    struct mct_store_request asked = {.command = request->command,
                                      .body = request->body,
                                      .length = request->length,
                                      .response = mct_response_body,
                                      .room = MCT_MAXIMUM_BODY};
    noted = mct_ticks();
    running = request;
    const char *error = mct_store_request(&asked);
    running = 0;
    return error ? fail(MCT_STORE_REFUSED, error) : done(asked.response_length);
}

static struct outcome run_command(const struct mct_request *request) {
    struct outcome checked;
    if (request->version != MCT_PROTOCOL_VERSION)
        return fail(MCT_BAD_VERSION, "the firmware speaks another version of the protocol");
    if (!greeted && request->command != MCT_HELLO)
        return fail(MCT_NOT_GREETED, "the device was reset");
    if (request->command >= MCT_STORE_STATUS && request->command <= MCT_STORE_CERTIFY)
        return store_command(request);
    switch (request->command) {
    case MCT_HELLO:
        return hello(request);
    case MCT_READ:
        checked = check_reads(request->body, request->length);
        if (!checked.status)
            apply_reads(request->body, request->length);
        return checked;
    case MCT_WRITE:
        if (request->length < 4)
            return fail(MCT_BAD_BODY, "WRITE is cut off");
        checked = check_writes(request->body + 4, request->length - 4, mct_get32(request->body));
        if (checked.status)
            return checked;
        apply_writes(request->body + 4, checked.length);
        return done(0);
    case MCT_RUN:
        return run_calls(request);
    case MCT_PROFILE:
        return profile(request);
    case MCT_READ_PROFILE:
        return read_profile(request);
    case MCT_WORK:
        return read_work();
    case MCT_BYE:
    case MCT_RESUME:
        return done(0);
    default:
        return fail(MCT_BAD_COMMAND, "there is no such command");
    }
}

/* Count the time of a request; to look at what was counted is no work. */
static void count_work(const struct mct_request *request, uint32_t began) {
    uint32_t kind = MCT_WORK_MEMORY;
    if (request->command >= MCT_STORE_STATUS && request->command <= MCT_STORE_CERTIFY)
        kind = MCT_WORK_STORE;
    else if (request->command == MCT_RUN && request->length >= 4 &&
             mct_get32(request->body) < mct_program_count)
        kind = MCT_WORK_RUN + mct_get32(request->body);
    if (request->command != MCT_WORK)
        mct_work_add(kind, began);
}

uint32_t mct_active_workers;

_Noreturn void mct_serve(void) {
    mct_active_workers = mct_workers;
    mct_store_start();
    uint32_t last_sequence = 0;
    uint8_t last_command = 0;
    bool responded = false;
    for (;;) {
        struct mct_request request;
        if (!mct_frame_receive(&request))
            continue;
        if (!responded || request.sequence != last_sequence || request.command != last_command) {
            uint32_t began = mct_work_clock();
            struct outcome outcome = run_command(&request);
            mct_frame_respond(&request, outcome.status, outcome.length);
            count_work(&request, began);
            last_sequence = request.sequence;
            last_command = request.command;
            responded = true;
        }
        mct_frame_send_response();
        if (request.command == MCT_BYE)
            mct_board_end();
    }
}
