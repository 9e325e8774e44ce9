#include "activation.h"
#include "mct_math.h"
#include "simd/simd.h"

#define MCT_ACTIVATION_LOOP(expression)                                                                      \
    for (; i < last; i++) {                                                                                  \
        const float v = mct_widen(x[i]);                                                                     \
        y[i] = mct_narrow(expression);                                                                       \
    }                                                                                                        \
    break

void MCT_KERNEL(activation)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_activation *d = args;
    const mct_elem *x = d->x;
    mct_elem *y = d->y;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    switch (d->activation) {
    case MCT_LEAKY_RELU:
        MCT_ACTIVATION_LOOP(v < 0.0f ? d->alpha * v : v);
    case MCT_SIGMOID:
        MCT_ACTIVATION_LOOP(mct_sigmoid(v));
    case MCT_TANH:
        MCT_ACTIVATION_LOOP(mct_tanh(v));
    case MCT_NEGATE:
        MCT_ACTIVATION_LOOP(-v);
    default:
        MCT_ACTIVATION_LOOP(mct_activate(v, d->activation, d->lo, d->hi));
    }
}
