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

static void dampen(const void *context, void *const *at, uint32_t count) {
    const struct settings s = *(const struct settings *)context;
    float *restrict w = at[0];
    const float *restrict acc = at[1];
    const uint8_t *restrict importance = at[2];
    int32_t changed = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float known = mct_from_octaves(importance[i]);
        const float multiplier = mct_dampening(acc[i] * s.factor, known, s.alpha, s.lambda);
        changed += multiplier < 1.0f;
        w[i] = w[i] * multiplier;
    }
    *s.changed += changed;
}

void MCT_TILED(dampen)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dampen *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_dampen(args, worker, workers);
        return;
    }
    const struct mct_stream streams[] = {
        {d->w, d->w, sizeof(float), sizeof(float)}, {d->acc, 0, sizeof(float), 0}, {d->importance, 0, 1, 0}};
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        int32_t changed = 0;
        const struct settings s = {d->dampening[0], d->dampening[1], d->dampening[2], &changed};
        uint32_t first, last;
        mct_portion(d->count, portion, &first, &last);
        mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, dampen, &s);
        d->counts[portion] += changed;
    }
}
#else
#include "../dampen.c"
#endif
