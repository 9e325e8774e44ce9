/* What the runtime needs from a board: a byte stream to the host, a clock, an end. */
#ifndef MCT_LINK_H
#define MCT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#define MCT_FOREVER 0xffffffffu

/* Bring the board up: clock, link, workers. Called once, first. */
void mct_board_start(void);

/* Read exactly `count` bytes. False when `timeout` milliseconds pass without a byte; a link that cannot
 * tell (semihosting blocks) waits for ever. A simulated board whose host is gone ends here. */
bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout);

/* Write all bytes. */
void mct_link_write(const uint8_t *bytes, uint32_t count);

/* A counter that wraps, and its rate. */
uint32_t mct_ticks(void);
extern const uint32_t mct_ticks_per_second;

/* The host has said goodbye: a simulated board ends with status 0, a real one returns and goes on. */
void mct_board_end(void);

#endif
