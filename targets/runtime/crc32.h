/* CRC-32 as in zlib, PNG and Ethernet: polynomial 0x04c11db7 reflected, initial value and final XOR ~0. */
#ifndef MCT_CRC32_H
#define MCT_CRC32_H

#include <stdint.h>

/* Fill the tables; call once before mct_crc32. */
void mct_crc32_start(void);

/* CRC of `count` bytes that follow data with CRC `crc` (0 at first). */
uint32_t mct_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count);

#endif
