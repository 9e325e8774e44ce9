/* Importances, the formulas of the kernels on them; every operation rounds once. */
#ifndef MCT_IMPORTANCE_H
#define MCT_IMPORTANCE_H

#include "octaves.h"

/* What a weight is multiplied by: 1 unless the importance for the forgotten samples is above alpha times that
 * for all, `known`. */
MCT_INLINE float mct_dampening(float forget, float known, float alpha, float lambda) {
    if (!(forget > alpha * known))
        return 1.0f;
    const float ratio = lambda * known / forget;
    return ratio < 1.0f ? ratio : 1.0f;
}

#endif
