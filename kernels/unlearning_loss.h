/* A loss of logits[rows][classes] that is chosen when it runs, and its gradient; every operation rounds once.
 *
 * choice = {mode, weight, beta, log p0, temperature, 0, 0, 0}. With p the softmax, y the label, v the other
 * class of the largest score, per row loss and d = dloss/dlogits:
 *
 *   0  -log p_y                              p - e_y
 *   1  log p_y                               -(p - e_y)
 *   2  2 / beta * log(1 + (p_y / p0)^beta)   -2 sigmoid(beta (log p_y - log p0)) (p - e_y)
 *   3  1 + p_y - p_v                         p_y (e_y - p) - p_v (e_v - p)
 *   4  -mean of log p                        p - 1 / classes
 *   5  T^2 KL(q, p)                          T (p - q), both softmax at temperature T, q of the reference
 *   6  -sum of reference * log p             p - reference
 *
 * loss[0] is the mean over rows, dlogits = (scale / rows * weight) * d; p - e has its chosen class as minus
 * the sum of the others. In modes 0 to 3 a row whose label is no class contributes nothing. Any other mode:
 * loss NaN, no gradient. */
#ifndef MCT_UNLEARNING_LOSS_H
#define MCT_UNLEARNING_LOSS_H

#include "mct.h"

struct mct_unlearning_loss {
    const void *logits;
    const int32_t *label;
    const float *reference;
    const float *choice; /* [8] */
    const float *scale;  /* [1] */
    float *loss;
    void *dlogits;
    uint32_t rows, classes;
};

MCT_DECLARE(unlearning_loss)

#endif
