/* Positive numbers in a byte, quarter octaves rounded up: bit for bit as mcutrain/numerics/octaves.py. */
#ifndef MCT_OCTAVES_H
#define MCT_OCTAVES_H

#include "mct_math.h"

/* Mantissa bits of 2^(1/4), 2^(1/2), 2^(3/4); biased exponent of code 1. */
enum { MCT_QUARTER = 0x1837f0, MCT_HALF = 0x3504f3, MCT_THREE_QUARTERS = 0x5744fd, MCT_LOWEST = 127 - 40 };

MCT_INLINE uint8_t mct_octaves(float v) {
    const uint32_t bits = mct_bits(v), mantissa = bits & 0x007fffffu;
    if (v != v)
        return 255;
    if (!bits || bits >> 31)
        return 0;
    const int32_t quarters =
        (mantissa > 0) + (mantissa > MCT_QUARTER) + (mantissa > MCT_HALF) + (mantissa > MCT_THREE_QUARTERS);
    const int32_t code = 4 * ((int32_t)(bits >> 23) - MCT_LOWEST) + quarters + 1;
    return (uint8_t)(code < 1 ? 1 : code > 255 ? 255 : code);
}

MCT_INLINE float mct_from_octaves(uint8_t code) {
    const uint32_t step = code - 1u, quarter = step & 3;
    if (!code)
        return 0.0f;
    const uint32_t mantissa = quarter == 0   ? 0
                              : quarter == 1 ? MCT_QUARTER
                              : quarter == 2 ? MCT_HALF
                                             : MCT_THREE_QUARTERS;
    return mct_from_bits((((step >> 2) + MCT_LOWEST) << 23) | mantissa);
}

#endif
