/* phi[rows][size] = x[rows][depth] * scale[0], rounded to the nearest even within +-127 (NaN: 0); 127 in
 * column depth when size is depth + 1 */
#ifndef MCT_HEAD_FEATURES_H
#define MCT_HEAD_FEATURES_H

#include "elements.h"

struct mct_head_features {
    const void *x;
    const float *scale; /* [2] */
    int8_t *phi;
    uint32_t rows, depth, size;
};

MCT_DECLARE(head_features)

#endif
