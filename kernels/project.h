/* acc[count] -= (dot / squares) * held[count] when dot < 0 < squares: what of acc points against held goes.
 *
 * dot and squares are the sums of dots[8] and squares[8] in order */
#ifndef MCT_PROJECT_H
#define MCT_PROJECT_H

#include "portions.h"

struct mct_project {
    float *acc;
    const float *held;
    const float *dots;    /* [8], of acc and held */
    const float *squares; /* [8], of held and held */
    uint32_t count;
};

MCT_DECLARE(project)

#endif
