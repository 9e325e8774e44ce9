#include "crc32.h"

/* table[k][b]: CRC register after byte b and k zero bytes; four bytes are then one step ("slicing by 4"). */
static uint32_t table[4][256];

void mct_crc32_start(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        table[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 4; k++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

uint32_t mct_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count) {
    crc = ~crc;
    for (; count >= 4; count -= 4, bytes += 4) {
        crc ^= bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        crc = table[3][crc & 0xff] ^ table[2][crc >> 8 & 0xff] ^ table[1][crc >> 16 & 0xff] ^
              table[0][crc >> 24];
    }
    for (; count; count--)
        crc = crc >> 8 ^ table[0][(crc ^ *bytes++) & 0xff];
    return ~crc;
}
