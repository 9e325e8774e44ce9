/* What kernel calls take, counted by the board while the host asks for it and kept in a log that the host
 * reads. mcutrain/device/profile.py is the other side.
 *
 * The log is records of 32-bit words, all of one length: MCT_PROFILE_HEAD words of the controller's, then the
 * counts of each active worker in the order of the board's `counts`. */
#ifndef MCT_PROFILE_H
#define MCT_PROFILE_H

#include <stdint.h>

enum {
    MCT_PROFILE_LAYOUT = 1,   /* version of all this */
    MCT_PROFILE_HEAD = 5,     /* Program, kernel call, begin and end, and transfers or messages: */
    MCT_PROFILE_RUN = -1,     /* in place of a kernel call: all of a RUN, with time spent on messages */
    MCT_PROFILE_UNKNOWN = -1, /* in place of time with transfers under way: cannot be told */
    MCT_PROFILE_MOST_COUNTS = 8,
};

/* What a worker's count is. Time is of the board's clock. */
enum mct_count {
    MCT_COUNT_BEGIN = 0,        /* the clock at the kernel's first instruction */
    MCT_COUNT_END = 1,          /* and behind its last */
    MCT_COUNT_BARRIER = 2,      /* time at barriers */
    MCT_COUNT_DMA = 3,          /* time in which the worker waited for a transfer */
    MCT_COUNT_INSTRUCTIONS = 4, /* executed */
    MCT_COUNT_LOAD_STALLS = 5,  /* cycles lost as a load's result was used at once */
    MCT_COUNT_FETCH_STALLS = 6, /* cycles lost to misses of the instruction cache */
    MCT_COUNT_FPU_STALLS = 7,   /* cycles lost as another worker had the floating-point unit */
};

struct mct_profile_board {
    uint32_t rate;  /* of the clock, a second; 0: it counts the cores' cycles */
    uint32_t count; /* number of `counts`, all of enum mct_count */
    uint8_t counts[MCT_PROFILE_MOST_COUNTS];
};

/* From the board. One that has none of this has no memory for a log, which the host is told. */
extern const struct mct_profile_board mct_profile_board;
uint32_t mct_profile_clock(void);

/* Memory for the log, word-aligned. */
uint32_t *mct_profile_memory(uint32_t *bytes);

/* From profile.c, for the board. Null while nothing is counted; else mct_team_run has the workers write their
 * counts there one after the other, and writes what it knows about transfers to `*mct_profile_transfers`. */
extern uint32_t *mct_profile_counts;
extern uint32_t *mct_profile_transfers;

/* ---- for protocol.c -------------------------------------------------------------------------------- */

/* Clear the log, and count from now on: nothing, each kernel call and each RUN, or each RUN alone, which is
 * then as quick as when nothing is counted. */
enum mct_profile_mode { MCT_PROFILE_OFF = 0, MCT_PROFILE_CALLS = 1, MCT_PROFILE_RUNS = 2 };
void mct_profile_start(enum mct_profile_mode mode);

/* Words that tell the host about the log: layout, clock rate, records it holds, words of a record, active
 * workers, number of counts, counts. */
enum { MCT_PROFILE_MOST_FACTS = 6 + MCT_PROFILE_MOST_COUNTS };
uint32_t mct_profile_facts(uint32_t *facts);

/* Records in the log, how many more did not fit, and words of one. */
struct mct_profile_log {
    const uint32_t *words;
    uint32_t records, lost, record_words;
};
struct mct_profile_log mct_profile_log(void);

/* Around each kernel call of a RUN, around a message to the host in it, and around all of it. */
void mct_profile_run_begins(void);
void mct_profile_run_ends(uint32_t program);
void mct_profile_call_begins(uint32_t program, uint32_t call);
void mct_profile_call_ends(void);
void mct_profile_message_begins(void);
void mct_profile_message_ends(void);

#endif
