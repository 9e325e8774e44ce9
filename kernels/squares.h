/* Squares of gradients: where a kernel that accumulates a gradient g is told to, acc += g^2 instead.
 *
 * g begins with zeros and is squared when its reduction is complete: the square rounds, then the sum. */
#ifndef MCT_SQUARES_H
#define MCT_SQUARES_H

#include "simd/simd.h"

MCT_INLINE float mct_square(float acc, float g) {
    return mct_canonical(acc + g * g);
}

/* acc[rows][columns] += g[rows][columns]^2; their rows are `stride` and `pitch` numbers apart. */
static inline void mct_squares(float *acc, uint32_t stride, const float *g, uint32_t pitch, uint32_t rows,
                               uint32_t columns) {
    for (; rows; rows--, acc += stride, g += pitch)
        for (uint32_t c = 0; c < columns; c++)
            acc[c] = mct_square(acc[c], g[c]);
}

#endif
