/* Little-endian numbers at any address. */
#ifndef MCT_LITTLE_ENDIAN_H
#define MCT_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint32_t mct_get32(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void mct_put32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

#endif
