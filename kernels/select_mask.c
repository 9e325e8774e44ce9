#include "select_mask.h"

enum { KIND_GRADIENT = 0, KIND_PRODUCT = 1 };

void MCT_KERNEL(select_mask)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_select_mask *d = args;
    const float kind = d->rule[0], threshold = d->rule[1];
    const bool product = kind == KIND_PRODUCT, known = product || kind == KIND_GRADIENT;
    for (uint32_t portion = worker; portion < MCT_PORTIONS; portion += workers) {
        int32_t chosen = 0;
        uint32_t i, last;
        mct_portion(d->count, portion, &i, &last);
        for (; i < last; i++) {
            const float score = product ? d->w[i] * d->acc[i] : d->acc[i];
            d->mask[i] = known && (score < 0.0f ? -score : score) > threshold;
            chosen += d->mask[i];
        }
        d->counts[portion] += chosen;
    }
}
