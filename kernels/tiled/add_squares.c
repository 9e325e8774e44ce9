/* Sums of squares, whose operands stream through L1. */
#if MCT_ELEM == 32
#include "fallback.h"
MCT_ANY_SHAPE(add_squares)
#include "../add_squares.c"
#include "stream.h"

static void add(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context;
    const float *restrict acc = in[0], *restrict g = in[1];
    float *restrict sum = out[0];
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < count; i++)
        sum[i] = acc[i] + g[i] * g[i]; /* of canonical operands: it cannot make another NaN */
}

void MCT_TILED(add_squares)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_add_squares *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_add_squares(args, worker, workers);
        return;
    }
    const struct mct_stream in[MCT_STREAMS] = {{d->acc, sizeof(float)},
                                               {(void *)(uintptr_t)d->g, sizeof(float)}};
    const struct mct_stream out[MCT_STREAMS] = {{d->acc, sizeof(float)}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(out, in, first, last, worker, add, 0);
}
#else
#include "../add_squares.c"
#endif
