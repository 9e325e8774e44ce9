/* What the requests of the host have taken since the start, by the board's clock: the device's own work, not
 * the time its link takes. mcutrain/device/work.py is the other side. */
#ifndef MCT_WORK_H
#define MCT_WORK_H

#include <stdint.h>

enum {
    MCT_WORK_LAYOUT = 1,    /* version of all this */
    MCT_WORK_PROGRAMS = 48, /* counted one by one; those after are counted together with the last */
};

/* What is counted: how many times, and how long in all. */
enum mct_work {
    MCT_WORK_MEMORY,  /* requests that are about memory or the device itself */
    MCT_WORK_STORE,   /* requests of the store, and in them: */
    MCT_WORK_BLANK,   /* blocks of the flash that were read and found erased, */
    MCT_WORK_ERASED,  /* blocks that had to be erased, */
    MCT_WORK_WRITTEN, /* pages that were programmed */
    MCT_WORK_RUN,     /* and, from here on, runs of Program 0, 1 … */
    MCT_WORK_KINDS = MCT_WORK_RUN + MCT_WORK_PROGRAMS,
};

/* From the board, where there is a better clock than mct_ticks: it wraps, and no request may take that long.
 * The rate is its ticks a second, 0 when it counts the controller's cycles. */
uint32_t mct_work_clock(void);
uint32_t mct_work_rate(void);

/* Count something that began at `began` and ends now. */
void mct_work_add(uint32_t kind, uint32_t began);

/* Words that tell the host: layout, rate, number of Programs counted one by one, and then of each kind how
 * many times and how long, low word first. */
enum { MCT_WORK_WORDS = 3 + 3 * MCT_WORK_KINDS };
uint32_t mct_work_words(uint32_t *words);

#endif
