/* What the store needs from a board: NOR flash that keeps its contents without power.
 *
 * A block is erased to ones as a whole; programming clears bits of a page that was erased. Each back end is
 * chosen by a definition of the target: MCT_FLASH_FILE (targets/native), MCT_FLASH_CFI,
 * MCT_FLASH_SEMIHOSTING; without one there is no flash. */
#ifndef MCT_FLASH_H
#define MCT_FLASH_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that are programmed at once, and what addresses and blocks are multiples of. */
enum { MCT_FLASH_PAGE = 256 };

struct mct_flash {
    uint32_t size;  /* bytes; 0 when there is no flash */
    uint32_t block; /* bytes that are erased at once: a power of two of at least 4096 that divides the size */
};

/* Find the flash. Called once. */
struct mct_flash mct_flash_start(void);

/* All three return false when the flash reports a failure. */
bool mct_flash_read(uint32_t address, uint8_t *to, uint32_t count);
bool mct_flash_erase(uint32_t address);                        /* the block at `address` */
bool mct_flash_program(uint32_t address, const uint8_t *from); /* the page at `address` */

#endif
