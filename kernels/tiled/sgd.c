/* Stochastic gradient descent, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(sgd)
#include "../sgd.c"
#include "tiled/stream.h"

struct rates {
    float factor, rate, momentum, decay;
};

static void descend(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    const float *restrict w = in[0], *restrict g = in[1];
    float *restrict w_new = out[0];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++) {
        const float step = g[i] * r.factor + r.decay * w[i];
        w_new[i] = w[i] - r.rate * step;
    }
}

static void descend_with_momentum(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    const float *restrict w = in[0], *restrict g = in[1], *restrict v = in[2];
    float *restrict w_new = out[0], *restrict v_new = out[1];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++) {
        const float step = r.momentum * v[i] + (g[i] * r.factor + r.decay * w[i]);
        v_new[i] = step;
        w_new[i] = w[i] - r.rate * step;
    }
}

void MCT_TILED(sgd)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_sgd *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_sgd(args, worker, workers);
        return;
    }
    if (*d->overflow != 0)
        return;
    const struct rates r = {d->hyper[3] / *d->scale, d->hyper[0], d->hyper[1], d->hyper[2]};
    const uint32_t momentum = d->v ? sizeof(float) : 0;
    const struct mct_stream in[MCT_STREAMS] = {
        {d->w, sizeof(float)}, {(void *)(uintptr_t)d->g, sizeof(float)}, {d->v, momentum}};
    const struct mct_stream out[MCT_STREAMS] = {{d->w, sizeof(float)}, {d->v, momentum}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    if (momentum)
        mct_stream_run(out, in, first, last, worker, descend_with_momentum, &r);
    else
        mct_stream_run(out, in, first, last, worker, descend, &r);
}
#else
#include "../sgd.c"
#endif
