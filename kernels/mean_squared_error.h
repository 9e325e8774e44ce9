/* loss[0] = mean of (prediction - target)^2, summed one by one in binary32;
 * dprediction = (2 * scale / count) * (prediction - target), rounded once. */
#ifndef MCT_MEAN_SQUARED_ERROR_H
#define MCT_MEAN_SQUARED_ERROR_H

#include "elements.h"

struct mct_mean_squared_error {
    const void *prediction;
    const float *target;
    const float *scale; /* [1]; null with dprediction */
    float *loss;
    void *dprediction; /* null: loss only */
    uint32_t count;
};

MCT_DECLARE(mean_squared_error)

#endif
