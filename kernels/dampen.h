/* Selective synaptic dampening: where forget = acc * factor > alpha * importance,
 * w *= min(lambda * importance / forget, 1); dampening = {alpha, lambda, factor}.
 *
 * counts[p] += the elements of portion p whose multiplier is below one. */
#ifndef MCT_DAMPEN_H
#define MCT_DAMPEN_H

#include "portions.h"

struct mct_dampen {
    float *w;
    const float *acc;
    const uint8_t *importance;
    const float *dampening; /* [3] */
    int32_t *counts;        /* [8] */
    uint32_t count;
};

MCT_DECLARE(dampen)

#endif
