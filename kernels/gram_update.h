/* gram += sign * phi phi^T (its upper triangle, by rows) and targets[classes][size] += sign * y * phi, over
 * rows.
 *
 * y is +-1 for labels. For a target it is target * scale[1] in Q15, and targets are 64-bit integers: the high
 * words of all, then the low ones */
#ifndef MCT_GRAM_UPDATE_H
#define MCT_GRAM_UPDATE_H

#include "elements.h"

struct mct_gram_update {
    const int8_t *phi; /* [rows][size] */
    const int32_t *signs;
    const int32_t *label; /* [rows] or null */
    const float *target;  /* [rows][classes] or null */
    const float *scale;   /* [2] */
    int32_t *gram;
    int32_t *targets;
    uint32_t rows, size, classes;
};

MCT_DECLARE(gram_update)

#endif
