#include "dampen.h"
#include "importance.h"

void MCT_KERNEL(dampen)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dampen *d = args;
    const float alpha = d->dampening[0], lambda = d->dampening[1], factor = d->dampening[2];
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        int32_t changed = 0;
        uint32_t i, last;
        mct_portion(d->count, portion, &i, &last);
        for (; i < last; i++) {
            const float known = mct_from_octaves(d->importance[i]);
            const float multiplier = mct_dampening(d->acc[i] * factor, known, alpha, lambda);
            changed += multiplier < 1.0f;
            d->w[i] *= multiplier;
        }
        d->counts[portion] += changed;
    }
}
