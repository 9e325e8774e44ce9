/* ReLU of elements that stream through L1. Other activations take the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(activation)
#include "../activation.c"
#include "tiled/stream.h"

#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "simd/streams_xpulp.h"

static void relu(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context;
    mct_x_relu(out[0], in[0], (count + 1) / 2);
}
#else
static void relu(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context;
    const mct_elem *restrict x = in[0];
    mct_elem *restrict y = out[0];
    for (uint32_t i = 0; i < count; i++)
        y[i] = mct_narrow(mct_widen(x[i]) < 0.0f ? 0.0f : mct_widen(x[i]));
}
#endif

void MCT_TILED(activation)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_activation *d = args;
    if (d->activation != MCT_RELU || d->count < MCT_STREAM_WORTH) {
        mct_any_shape_activation(args, worker, workers);
        return;
    }
    const struct mct_stream in[MCT_STREAMS] = {{(void *)(uintptr_t)d->x, sizeof(mct_elem)}};
    const struct mct_stream out[MCT_STREAMS] = {{d->y, sizeof(mct_elem)}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(out, in, first, last, worker, relu, 0);
}
