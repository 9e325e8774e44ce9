/* Bias gradient through L1, for binary16 and an even number of channels. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(bias_gradient)
#include "../bias_gradient.c"
#include "simd/streams_xpulp.h"
#include "tiled/rows.h"

enum { MOST_CHANNELS = 64 }; /* of a worker */

struct sums {
    uint32_t first, last; /* channels */
    float sum[MOST_CHANNELS];
};

static void follow(void *context, const mct_elem *rows, uint32_t count, uint32_t pitch) {
    struct sums *s = context;
    for (uint32_t c = s->first; c < s->last; c += 2)
        mct_x_sum_columns(s->sum + (c - s->first), rows + c, pitch, count);
}

void MCT_TILED(bias_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_bias_gradient *d = args;
    float *const acc = d->acc;
    const uint32_t squares = d->squares;
    struct sums s;
    mct_split(d->channels / 2, worker, workers, &s.first, &s.last);
    s.first *= 2;
    s.last *= 2;
    if (d->channels % 2 == 0 && d->rows >= 8 && mct_ceil_div(d->channels / 2, workers) <= MOST_CHANNELS / 2) {
        for (uint32_t c = s.first; c < s.last; c++)
            s.sum[c - s.first] = squares ? 0.0f : acc[c];
        if (mct_rows_follow(d->dy, d->rows, d->channels, worker, workers, follow, &s)) {
            for (uint32_t c = s.first; c < s.last; c++) {
                const float sum = mct_canonical(s.sum[c - s.first]);
                acc[c] = squares ? mct_square(acc[c], sum) : sum;
            }
            return;
        }
    }
    mct_any_shape_bias_gradient(args, worker, workers);
}
#else
#include "../bias_gradient.c"
#endif
