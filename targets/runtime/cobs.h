/* Consistent overhead byte stuffing (Cheshire and Baker, 1997): data without zero bytes, so that a zero
 * byte ends a frame wherever a reader comes in. */
#ifndef MCT_COBS_H
#define MCT_COBS_H

#include <stdint.h>

/* Most bytes that encoding adds to n. */
#define MCT_COBS_OVERHEAD(n) ((n) / 254 + 1)

/* Encode `count` bytes; returns the encoded length. In place when `to` + MCT_COBS_OVERHEAD(count) <= `from`.
 */
uint32_t mct_cobs_encode(uint8_t *to, const uint8_t *from, uint32_t count);

#define MCT_COBS_DAMAGED 0xffffffffu

/* Decode in place; returns the length, or MCT_COBS_DAMAGED when no encoder makes such bytes. */
uint32_t mct_cobs_decode(uint8_t *bytes, uint32_t count);

#endif
