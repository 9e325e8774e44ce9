/* Mean over a whole image through L1, for binary16. Other windows take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(average_pool2d)
#include "../average_pool2d.c"
#include "tiled/rows.h"

enum { MOST_CHANNELS = 64 }; /* of a worker */

struct sums {
    uint32_t first, last; /* channels */
    float sum[MOST_CHANNELS];
};

static void follow(void *context, const mct_elem *rows, uint32_t count, uint32_t pitch) {
    struct sums *s = context;
    for (uint32_t c = s->first; c < s->last; c += 2) {
        const mct_elem *x = rows + c;
        float s0 = s->sum[c - s->first], s1 = s->sum[c + 1 - s->first];
#pragma clang loop unroll_count(4)
        for (uint32_t i = count; i; i--, x += pitch) {
            s0 += mct_widen(x[0]);
            s1 += mct_widen(x[1]);
        }
        s->sum[c - s->first] = s0;
        s->sum[c + 1 - s->first] = s1;
    }
}

void MCT_TILED(average_pool2d)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_average_pool2d *d = args;
    const uint32_t rows = d->height * d->width;
    struct sums s;
    mct_split(d->channels / 2, worker, workers, &s.first, &s.last);
    s.first *= 2;
    s.last *= 2;
    const bool whole = d->kernel_height == d->height && d->kernel_width == d->width &&
                       d->out_height * d->out_width == 1 && d->dilation_height == 1 &&
                       d->dilation_width == 1 && d->pad_top + d->pad_left + d->pad_bottom + d->pad_right == 0;
    if (!whole || d->batch != 1 || d->channels % 2 ||
        mct_ceil_div(d->channels / 2, workers) > MOST_CHANNELS / 2) {
        mct_any_shape_average_pool2d(args, worker, workers);
        return;
    }
    for (uint32_t c = s.first; c < s.last; c++)
        s.sum[c - s.first] = 0;
    if (!mct_rows_follow(d->x, rows, d->channels, worker, workers, follow, &s)) {
        mct_any_shape_average_pool2d(args, worker, workers);
        return;
    }
    for (uint32_t c = s.first; c < s.last; c++)
        ((mct_elem *)d->y)[c] = mct_narrow(s.sum[c - s.first] / (float)rows);
}
#else
#include "../average_pool2d.c"
#endif
