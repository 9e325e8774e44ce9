/* A loss of prediction[count] against target[count] that is chosen when it runs, and its gradient.
 *
 * choice = {mode, weight, 0 ...}: mode 0 the mean of squares, 7 the mean of absolute differences.
 * dprediction = (scale / count * weight) * (2 difference, or its sign). Any other mode: loss NaN, no
 * gradient. */
#ifndef MCT_UNLEARNING_REGRESSION_LOSS_H
#define MCT_UNLEARNING_REGRESSION_LOSS_H

#include "elements.h"

struct mct_unlearning_regression_loss {
    const void *prediction;
    const float *target;
    const float *choice; /* [8] */
    const float *scale;  /* [1] */
    float *loss;
    void *dprediction;
    uint32_t count;
};

MCT_DECLARE(unlearning_regression_loss)

#endif
