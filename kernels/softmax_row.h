/* The normaliser of a softmax row, shared by softmax and cross-entropy. */
#ifndef MCT_SOFTMAX_ROW_H
#define MCT_SOFTMAX_ROW_H

#include "mct_math.h"
#include "simd/simd.h"

struct mct_softmax_row {
    float largest; /* element */
    float sum;     /* of exp(x - largest), one by one in index order */
};

MCT_INLINE struct mct_softmax_row mct_softmax_of_row(const mct_elem *x, uint32_t length, uint32_t stride) {
    struct mct_softmax_row row = {mct_widen(x[0]), 0.0f};
    for (uint32_t i = 1; i < length; i++) {
        const float v = mct_widen(x[i * stride]);
        row.largest = v > row.largest ? v : row.largest;
    }
    for (uint32_t i = 0; i < length; i++)
        row.sum += mct_exp(mct_widen(x[i * stride]) - row.largest);
    return row;
}

#endif
