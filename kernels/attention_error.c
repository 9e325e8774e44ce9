#include "attention_error.h"
#include "simd/simd.h"

static float norm(const float *energy, uint32_t count) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < count; i++)
        sum += energy[i] * energy[i];
    return __builtin_sqrtf(sum);
}

static float share(float energy, float norm) {
    return norm > 0.0f ? energy / norm : 0.0f;
}

static float compare_row(float *gradient, const float *energy, const float *reference, uint32_t count,
                         float factor) {
    const float mine = norm(energy, count), wanted = norm(reference, count);
    float sum = 0.0f, along = 0.0f;
    for (uint32_t i = 0; i < count; i++) {
        const float map = share(energy[i], mine), apart = map - share(reference[i], wanted);
        sum += apart * apart;
        gradient[i] = factor * apart;
        along += gradient[i] * map;
    }
    for (uint32_t i = 0; i < count; i++) {
        const float step = (gradient[i] - share(energy[i], mine) * along) / mine;
        gradient[i] = mine > 0.0f ? mct_canonical(step) : 0.0f;
    }
    return sum / (float)count;
}

void MCT_KERNEL(attention_error)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_attention_error *d = args;
    (void)workers;
    if (worker != 0)
        return;
    const float factor = *d->scale / (float)d->rows * d->choice[5] * (2.0f / (float)d->count);
    float sum = 0.0f;
    for (uint32_t row = 0; row < d->rows; row++) {
        const uint32_t at = row * d->count;
        sum += compare_row(d->gradient + at, d->energy + at, d->reference + at, d->count, factor);
    }
    *d->loss = mct_canonical(sum / (float)d->rows);
}
