/* Sums of squares, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(add_squares)
#include "../add_squares.c"
#include "stream.h"

static void add(const void *context, void *const *at, uint32_t count) {
    (void)context;
    float *restrict acc = at[0];
    const float *restrict g = at[1];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        acc[i] = acc[i] + g[i] * g[i]; /* of canonical operands: it cannot make another NaN */
}

void MCT_TILED(add_squares)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_add_squares *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_add_squares(args, worker, workers);
        return;
    }
    const struct mct_stream streams[] = {{d->acc, d->acc, sizeof(float), sizeof(float)},
                                         {d->g, 0, sizeof(float), 0}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, add, 0);
}
#else
#include "../add_squares.c"
#endif
