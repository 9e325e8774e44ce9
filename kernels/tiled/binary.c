/* Sums, differences and products of equal shapes, whose operands stream through L1. */
#include "fallback.h"
MCT_ANY_SHAPE(binary)
#include "../binary.c"
#include "tiled/stream.h"

#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "simd/streams_xpulp.h"

#define MCT_STREAM_LOOP(name, operation)                                                                     \
    static void name(const void *context, void *const *at, uint32_t count) {                                 \
        (void)context;                                                                                       \
        mct_x_##name(at[0], at[1], (count + 1) / 2);                                                         \
    }
#else
#define MCT_STREAM_LOOP(name, operation)                                                                     \
    static void name(const void *context, void *const *at, uint32_t count) {                                 \
        (void)context;                                                                                       \
        mct_elem *restrict a = at[0];                                                                        \
        const mct_elem *restrict b = at[1];                                                                  \
        _Pragma("clang loop unroll_count(4)") for (uint32_t i = 0; i < count; i++) a[i] =                    \
            mct_narrow(mct_widen(a[i]) operation mct_widen(b[i]));                                           \
    }

#endif

MCT_STREAM_LOOP(add, +)
MCT_STREAM_LOOP(subtract, -)
MCT_STREAM_LOOP(multiply, *)

/* Whether an operand has the result's shape: its elements are in the same order, without a gap. */
static bool same_shape(const struct mct_binary *d, const uint32_t strides[MCT_RANK]) {
    uint32_t distance = 1;
    for (uint32_t axis = MCT_RANK; axis-- > 0; distance *= d->dims[axis])
        if (d->dims[axis] > 1 && strides[axis] != distance)
            return false;
    return true;
}

void MCT_TILED(binary)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_binary *d = args;
    if (d->count < MCT_STREAM_WORTH || d->operation > MCT_MULTIPLY || !same_shape(d, d->a_strides) ||
        !same_shape(d, d->b_strides)) {
        mct_any_shape_binary(args, worker, workers);
        return;
    }
    const struct mct_stream streams[] = {{d->a, d->y, sizeof(mct_elem), sizeof(mct_elem)},
                                         {d->b, 0, sizeof(mct_elem), 0}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker,
                   d->operation == MCT_ADD        ? add
                   : d->operation == MCT_SUBTRACT ? subtract
                                                  : multiply,
                   0);
}
