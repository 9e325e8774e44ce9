#include "activation_gradient.h"
#include "simd/simd.h"

#define MCT_GRADIENT_LOOP(expression)                                                                        \
    for (; i < last; i++) {                                                                                  \
        const float g = mct_widen(dy[i]), v = mct_widen(y[i]);                                               \
        dx[i] = mct_narrow(expression);                                                                      \
    }                                                                                                        \
    break

void MCT_KERNEL(activation_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_activation_gradient *d = args;
    const mct_elem *dy = d->dy;
    const mct_elem *y = d->y;
    mct_elem *dx = d->dx;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    switch (d->activation) {
    case MCT_RELU:
        MCT_GRADIENT_LOOP(v <= 0.0f ? 0.0f : g);
    case MCT_CLIP:
        MCT_GRADIENT_LOOP(v <= d->lo || v >= d->hi ? 0.0f : g);
    case MCT_LEAKY_RELU:
        MCT_GRADIENT_LOOP(v <= 0.0f ? d->alpha * g : g);
    case MCT_SIGMOID:
        MCT_GRADIENT_LOOP(g * (v * (1.0f - v)));
    default: /* MCT_TANH */
        MCT_GRADIENT_LOOP(g * (1.0f - v * v));
    }
}
