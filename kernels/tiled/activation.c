/* ReLU of elements that stream through L1. Other activations take the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(activation)
#include "../activation.c"
#include "tiled/stream.h"

#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "simd/streams_xpulp.h"

static void relu(const void *context, void *const *at, uint32_t count) {
    (void)context;
    mct_x_relu(at[0], (count + 1) / 2);
}
#else
static void relu(const void *context, void *const *at, uint32_t count) {
    (void)context;
    mct_elem *x = at[0];
    for (uint32_t i = 0; i < count; i++)
        x[i] = mct_narrow(mct_widen(x[i]) < 0.0f ? 0.0f : mct_widen(x[i]));
}
#endif

void MCT_TILED(activation)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_activation *d = args;
    if (d->activation != MCT_RELU || d->count < MCT_STREAM_WORTH) {
        mct_any_shape_activation(args, worker, workers);
        return;
    }
    const struct mct_stream streams[] = {{d->x, d->y, sizeof(mct_elem), sizeof(mct_elem)}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, relu, 0);
}
