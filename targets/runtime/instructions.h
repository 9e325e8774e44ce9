/* Whether the cores have the instructions that this build's kernels use. */
#ifndef MCT_INSTRUCTIONS_H
#define MCT_INSTRUCTIONS_H

#include <stdint.h>

/* What is wrong, for the host; null when nothing is. The workers are asked the first time. */
const char *mct_unfit(void);

/* Not 0 while an illegal instruction is to be skipped: the board's exception handler may use t0 and t1
 * for that. */
extern volatile uint32_t mct_skips_illegal;

#endif
