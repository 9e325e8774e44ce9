/* importance[count] = quarter octaves of acc[count] * factor[0] */
#ifndef MCT_STORE_IMPORTANCE_H
#define MCT_STORE_IMPORTANCE_H

#include "elements.h"

struct mct_store_importance {
    const float *acc;
    const float *factor; /* [1] */
    uint8_t *importance;
    uint32_t count;
};

MCT_DECLARE(store_importance)

#endif
