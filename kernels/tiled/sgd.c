/* Stochastic gradient descent, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(sgd)
#include "../sgd.c"
#include "tiled/stream.h"

struct rates {
    float factor, rate, momentum, decay;
};

static void clear(float *g, uint32_t count) {
#pragma clang loop unroll_count(8)
    for (uint32_t i = 0; i < count; i++)
        g[i] = 0.0f;
}

/* Three operations an element, so that DMA is the bound. */
static void descend(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    const float *restrict w = in[0], *restrict g = in[1];
    float *restrict w_new = out[0];
#pragma clang loop unroll_count(8)
    for (uint32_t i = 0; i < count; i++)
        w_new[i] = w[i] - r.rate * (g[i] * r.factor);
    clear(out[1], count);
}

static void descend_with_decay(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    const float *restrict w = in[0], *restrict g = in[1];
    float *restrict w_new = out[0];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        w_new[i] = w[i] - r.rate * (g[i] * r.factor + r.decay * w[i]);
    clear(out[1], count);
}

static void descend_with_momentum(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    const float *restrict w = in[0], *restrict g = in[1], *restrict v = in[2];
    float *restrict w_new = out[0], *restrict v_new = out[2];
    const bool decays = r.decay != 0.0f;
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++) {
        const float t = g[i] * r.factor;
        const float step = r.momentum * v[i] + (decays ? t + r.decay * w[i] : t);
        v_new[i] = step;
        w_new[i] = w[i] - r.rate * step;
    }
    clear(out[1], count);
}

static void only_clear(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context, (void)in;
    clear(out[1], count);
}

void MCT_TILED(sgd)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_sgd copy = *(const struct mct_sgd *)args, *d = &copy;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_sgd(args, worker, workers);
        return;
    }
    const struct rates r = {d->hyper[3] / *d->scale, d->hyper[0], d->hyper[1], d->hyper[2]};
    const bool stop = *d->overflow != 0;
    const uint32_t momentum = d->v && !stop ? sizeof(float) : 0, weights = stop ? 0 : sizeof(float);
    const struct mct_stream in[MCT_STREAMS] = {{d->w, weights}, {d->g, weights}, {d->v, momentum}};
    const struct mct_stream out[MCT_STREAMS] = {{d->w, weights}, {d->g, sizeof(float)}, {d->v, momentum}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(out, in, first, last, worker,
                   stop              ? only_clear
                   : momentum        ? descend_with_momentum
                   : r.decay != 0.0f ? descend_with_decay
                                     : descend,
                   &r);
}
#else
#include "../sgd.c"
#endif
