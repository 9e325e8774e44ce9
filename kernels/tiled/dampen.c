/* Dampening, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(dampen)
#include "../dampen.c"
#include "stream.h"

struct settings {
    float alpha, lambda, factor;
    int32_t *changed;
};

static void dampen(const void *context, void *const *out, void *const *in, uint32_t count) {
    const struct settings s = *(const struct settings *)context;
    const float *restrict w = in[0], *restrict acc = in[1];
    const uint8_t *restrict importance = in[2];
    float *restrict w_new = out[0];
    int32_t changed = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float known = mct_from_octaves(importance[i]);
        const float multiplier = mct_dampening(acc[i] * s.factor, known, s.alpha, s.lambda);
        changed += multiplier < 1.0f;
        w_new[i] = w[i] * multiplier;
    }
    *s.changed += changed;
}

void MCT_TILED(dampen)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dampen *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_dampen(args, worker, workers);
        return;
    }
    const struct mct_stream in[MCT_STREAMS] = {{d->w, sizeof(float)},
                                               {(void *)(uintptr_t)d->acc, sizeof(float)},
                                               {(void *)(uintptr_t)d->importance, 1}};
    const struct mct_stream out[MCT_STREAMS] = {{d->w, sizeof(float)}};
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        int32_t changed = 0;
        const struct settings s = {d->dampening[0], d->dampening[1], d->dampening[2], &changed};
        uint32_t first, last;
        mct_portion(d->count, portion, &first, &last);
        mct_stream_run(out, in, first, last, worker, dampen, &s);
        d->counts[portion] += changed;
    }
}
#else
#include "../dampen.c"
#endif
