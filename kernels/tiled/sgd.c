/* Stochastic gradient descent, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(sgd)
#include "../sgd.c"
#include "tiled/stream.h"

struct rates {
    float factor, rate, momentum, decay;
};

#ifdef MCT_XPULP
/* Every other instruction is for the floating-point unit, which two workers share: one computes while the
 * other does not. DMA and this take about the same time. The loop ends on an instruction of PULP's, which an
 * emulation sees. */
static void descend(const void *context, void *const *at, uint32_t count) {
    const struct rates *r = context;
    float *w = at[0], *g = at[1], a, b, c, d;
    /* clang-format off */
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t"
        ".insn i 0x7b, 4, x0, %[times], 28\n\t" /* lp.setup: the next 14, times times */
        "lw %[a], 0(%[g])\n\t"
        "lw %[b], 4(%[g])\n\t"
        "fmul.s %[a], %[a], %[factor]\n\t"
        "lw %[c], 0(%[w])\n\t"
        "fmul.s %[b], %[b], %[factor]\n\t"
        "lw %[d], 4(%[w])\n\t"
        "fmul.s %[a], %[rate], %[a]\n\t"
        ".insn s 0x2b, 2, x0, 4(%[g])\n\t" /* p.sw */
        "fmul.s %[b], %[rate], %[b]\n\t"
        ".insn s 0x2b, 2, x0, 4(%[g])\n\t"
        "fsub.s %[c], %[c], %[a]\n\t"
        ".insn s 0x2b, 2, %[c], 4(%[w])\n\t"
        "fsub.s %[d], %[d], %[b]\n\t"
        ".insn s 0x2b, 2, %[d], 4(%[w])\n\t"
        ".option pop"
        : [w] "+r"(w), [g] "+r"(g), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
        : [times] "r"((count + 1) / 2), [factor] "r"(r->factor), [rate] "r"(r->rate)
        : "memory");
    /* clang-format on */
}
#else
static void descend(const void *context, void *const *at, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    float *restrict w = at[0], *restrict g = at[1];
    for (uint32_t i = 0; i < count; i++) {
        w[i] = w[i] - r.rate * (g[i] * r.factor);
        g[i] = 0.0f;
    }
}
#endif

static void descend_with_decay(const void *context, void *const *at, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    float *restrict w = at[0], *restrict g = at[1];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++) {
        w[i] = w[i] - r.rate * (g[i] * r.factor + r.decay * w[i]);
        g[i] = 0.0f;
    }
}

static void descend_with_momentum(const void *context, void *const *at, uint32_t count) {
    const struct rates r = *(const struct rates *)context;
    float *restrict w = at[0], *restrict g = at[1], *restrict v = at[2];
    const bool decays = r.decay != 0.0f;
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++) {
        const float t = g[i] * r.factor;
        const float step = r.momentum * v[i] + (decays ? t + r.decay * w[i] : t);
        v[i] = step;
        w[i] = w[i] - r.rate * step;
        g[i] = 0.0f;
    }
}

static void only_clear(const void *context, void *const *at, uint32_t count) {
    float *g = at[1];
    (void)context;
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        g[i] = 0.0f;
}

MCT_SMALL void MCT_TILED(sgd)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_sgd *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_sgd(args, worker, workers);
        return;
    }
    const float *hyper = d->hyper;
    const struct rates r = {hyper[3] / *d->scale, hyper[0], hyper[1], hyper[2]};
    const bool stop = *d->overflow != 0;
    const uint32_t size = sizeof(float), momentum = d->v && !stop ? size : 0, weights = stop ? 0 : size;
    const struct mct_stream streams[] = {
        {d->w, d->w, weights, weights}, {d->g, d->g, weights, size}, {d->v, d->v, momentum, momentum}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker,
                   stop              ? only_clear
                   : momentum        ? descend_with_momentum
                   : r.decay != 0.0f ? descend_with_decay
                                     : descend,
                   &r);
}
#else
#include "../sgd.c"
#endif
