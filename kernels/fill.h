/* y[count] = value */
#ifndef MCT_FILL_H
#define MCT_FILL_H

#include "elements.h"

struct mct_fill {
    void *y;
    uint32_t count;
    float value;
};

MCT_DECLARE(fill)

#endif
