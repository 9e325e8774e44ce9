#include "gram_update.h"
#include "head.h"

/* to[size - first] += by * phi[first ...] */
static void add(int32_t *to, const int8_t *phi, uint32_t first, uint32_t size, int32_t by) {
    for (uint32_t j = first; j < size; j++)
        to[j - first] += by * phi[j];
}

static void add_wide(int32_t *high, int32_t *low, const int8_t *phi, uint32_t size, int32_t by) {
    for (uint32_t j = 0; j < size; j++) {
        const uint64_t old = (uint64_t)(uint32_t)high[j] << 32 | (uint32_t)low[j];
        const uint64_t sum = old + (uint64_t)(int64_t)(by * phi[j]);
        high[j] = (int32_t)(uint32_t)(sum >> 32);
        low[j] = (int32_t)(uint32_t)sum;
    }
}

/* Rows of the triangle and then classes are dealt out one by one, since they differ in length. */
void MCT_KERNEL(gram_update)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_gram_update *d = args;
    for (uint32_t row = 0; row < d->rows; row++) {
        const int8_t *phi = d->phi + row * d->size;
        const int32_t sign = d->signs[row];
        if (!sign)
            continue;
        for (uint32_t item = worker; item < d->size + d->classes; item += workers) {
            if (item < d->size) {
                add(d->gram + mct_triangle_row(d->size, item), phi, item, d->size, sign * phi[item]);
                continue;
            }
            const uint32_t class = item - d->size;
            int32_t *targets = d->targets + class * d->size;
            if (d->label) {
                add(targets, phi, 0, d->size, (uint32_t)d->label[row] == class ? sign : -sign);
                continue;
            }
            const float target = d->target[row * d->classes + class] * d->scale[1] * 32768.0f;
            add_wide(targets, targets + d->classes * d->size, phi, d->size,
                     sign * mct_quantise(target, MCT_HEAD_Q15));
        }
    }
}
