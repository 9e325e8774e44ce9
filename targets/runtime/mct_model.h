/* What the generated model.c gives to the runtime, and what the board gives to both. */
#ifndef MCT_MODEL_H
#define MCT_MODEL_H

#include <stdint.h>

#include "mct.h"

/* One kernel call: all workers enter `kernel` with the same arguments. */
struct mct_call {
    mct_kernel kernel;
    const void *args;
    uint32_t bytes; /* of the arguments, or 0 where that is not known */
};

/* A Program is a list of kernel calls, run in order. */
struct mct_program {
    const char *name;
    const struct mct_call *calls;
    uint32_t count;
};

/* From model.c. */
extern const struct mct_program mct_programs[];
extern const uint32_t mct_program_count;
extern uint8_t mct_data[];  /* initialised tensors, 16-byte aligned */
extern uint8_t mct_arena[]; /* everything else, 16-byte aligned */
extern const uint32_t mct_data_size;
extern const uint32_t mct_arena_size;
extern const uint8_t mct_build_id[32]; /* SHA-256 that the manifest carries */
extern const uint32_t mct_workers;     /* 1..8 */

/* Workers in use, 1..mct_workers: the host may ask for fewer. */
extern uint32_t mct_active_workers;

/* From the board: run `kernel` on workers 0 .. mct_active_workers - 1 and wait until all have returned. */
void mct_team_run(mct_kernel kernel, const void *args);

/* The same for `call`. When `next` is not null it is the call that is run next, by as many workers: a board
 * may prepare it meanwhile, and begin it before this returns. */
void mct_team_run_call(const struct mct_call *call, const struct mct_call *next);

#endif
