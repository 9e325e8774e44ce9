#include "cobs.h"

uint32_t mct_cobs_encode(uint8_t *to, const uint8_t *from, uint32_t count) {
    const uint8_t *end = from + count;
    uint8_t *code = to, *out = to + 1;
    while (from < end) {
        uint8_t byte = *from++;
        if (byte == 0) {
            *code = (uint8_t)(out - code);
            code = out++;
            continue;
        }
        *out++ = byte;
        if (out - code == 255 && from < end) {
            *code = 255;
            code = out++;
        }
    }
    *code = (uint8_t)(out - code);
    return (uint32_t)(out - to);
}

uint32_t mct_cobs_decode(uint8_t *bytes, uint32_t count) {
    uint8_t *out = bytes;
    uint32_t at = 0;
    while (at < count) {
        uint32_t code = bytes[at++];
        if (code == 0 || code - 1 > count - at)
            return MCT_COBS_DAMAGED;
        for (const uint8_t *from = bytes + at, *end = from + code - 1; from < end;) {
            if (*from == 0)
                return MCT_COBS_DAMAGED;
            *out++ = *from++;
        }
        at += code - 1;
        if (code < 255 && at < count)
            *out++ = 0;
    }
    return (uint32_t)(out - bytes);
}
