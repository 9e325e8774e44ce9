/* Gradient of ReLU through L1, for binary16. Other activations take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(activation_gradient)
#include "../activation_gradient.c"
#include "simd/streams_xpulp.h"
#include "tiled/stream.h"

static void relu_gradient(const void *context, void *const *at, uint32_t count) {
    (void)context;
    mct_x_relu_gradient(at[0], at[1], (count + 1) / 2);
}

void MCT_TILED(activation_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_activation_gradient *d = args;
    if (d->activation != MCT_RELU || d->count < MCT_STREAM_WORTH) {
        mct_any_shape_activation_gradient(args, worker, workers);
        return;
    }
    const struct mct_stream streams[] = {{d->dy, d->dx, sizeof(mct_elem), sizeof(mct_elem)},
                                         {d->y, 0, sizeof(mct_elem), 0}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, relu_gradient, 0);
}
#else
#include "../activation_gradient.c"
#endif
