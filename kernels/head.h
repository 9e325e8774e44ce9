/* Integers of the analytic head, see mcutrain/ops/head.py. */
#ifndef MCT_HEAD_H
#define MCT_HEAD_H

#include "mct.h"

enum { MCT_HEAD_FULL = 127, MCT_HEAD_Q15 = 32767 };

/* To the nearest even within +-most, NaN as 0. */
MCT_INLINE int32_t mct_quantise(float v, int32_t most) {
    const float limit = (float)most;
    if (v != v)
        return 0;
    v = v > limit ? limit : v < -limit ? -limit : v;
    /* adding and subtracting 1.5 * 2^23 rounds to the nearest integer */
    return (int32_t)((v + 0x1.8p+23f) - 0x1.8p+23f);
}

/* Place of element (row, row) in an upper triangle that is stored by rows. */
MCT_INLINE uint32_t mct_triangle_row(uint32_t size, uint32_t row) {
    return row * size - row * (row - 1) / 2;
}

#endif
