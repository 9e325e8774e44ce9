/* total[0] = the sum of counts[8]; worker 0. */
#ifndef MCT_COUNT_TOTAL_H
#define MCT_COUNT_TOTAL_H

#include "portions.h"

struct mct_count_total {
    const int32_t *counts;
    int32_t *total;
};

MCT_DECLARE(count_total)

#endif
