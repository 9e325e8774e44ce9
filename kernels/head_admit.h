/* signs[row] = sign for rows that count, else 0; count[0] goes along. Worker 0 does it all.
 *
 * A row does not count when its label is not in [0, classes) or its target[classes] not finite, nor when
 * count is not below `most` (sign 1) or not above zero (sign -1) */
#ifndef MCT_HEAD_ADMIT_H
#define MCT_HEAD_ADMIT_H

#include "elements.h"

struct mct_head_admit {
    const int32_t *label; /* [rows] or null */
    const float *target;  /* [rows][classes] or null */
    int32_t *signs;
    int32_t *count; /* [1] */
    int32_t sign;
    uint32_t rows, classes;
    int32_t most;
};

MCT_DECLARE(head_admit)

#endif
