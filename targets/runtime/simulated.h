/* What a simulated board shares with its link: link_semihosting.c, or one of its own. */
#ifndef MCT_SIMULATED_H
#define MCT_SIMULATED_H

#include <stdint.h>

/* Open the link; called once, from mct_board_start. Ends the simulator when there is no link. */
void mct_link_start(void);

/* From the board: end the simulator with an exit status. */
_Noreturn void mct_finish(uint32_t status);

#endif
