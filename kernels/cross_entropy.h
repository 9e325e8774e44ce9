/* Cross-entropy of softmax(logits[rows][classes]) against label[rows], and its gradient.
 *
 * loss[0] = mean over rows of log(sum(exp(x - max))) - (x[label] - max)
 * dlogits = scale / rows * (p - [label]), the true class as minus the sum of the others' p
 *
 * A row whose label is not in [0, classes) contributes neither loss nor gradient. */
#ifndef MCT_CROSS_ENTROPY_H
#define MCT_CROSS_ENTROPY_H

#include "mct.h"

struct mct_cross_entropy {
    const void *logits;
    const int32_t *label;
    const float *scale; /* [1]; null with dlogits */
    float *loss;
    void *dlogits; /* null: loss only */
    uint32_t rows, classes;
};

MCT_DECLARE(cross_entropy)

#endif
