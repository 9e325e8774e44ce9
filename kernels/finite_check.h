/* overflow[0] = 1 when x[count] holds an infinity or a NaN; otherwise it stays as it is. */
#ifndef MCT_FINITE_CHECK_H
#define MCT_FINITE_CHECK_H

#include "elements.h"

struct mct_finite_check {
    const void *x;
    int32_t *overflow;
    uint32_t count;
};

MCT_DECLARE(finite_check)

#endif
