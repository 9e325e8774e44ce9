/* ReLU of elements that stream through L1. Other activations take the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(activation)
#include "../activation.c"
#include "tiled/stream.h"

#if MCT_ELEM == 16
/* Two elements as integers: what has its sign bit set and is not -0 becomes +0. NaN is canonical, without
 * a sign. */
static void relu(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context;
    const uint32_t *restrict x = in[0];
    uint32_t *restrict y = out[0];
    _Pragma("clang loop unroll_count(4)") for (uint32_t i = 0; i < (count + 1) / 2; i++) {
        uint32_t negative = x[i] & ((x[i] & 0x7fff7fffu) + 0x7fff7fffu) & 0x80008000u;
        y[i] = x[i] & ~((negative << 1) - (negative >> 15));
    }
}
#else
static void relu(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)context;
    const mct_elem *restrict x = in[0];
    mct_elem *restrict y = out[0];
    for (uint32_t i = 0; i < count; i++)
        y[i] = mct_narrow(x[i] < 0.0f ? 0.0f : x[i]);
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
