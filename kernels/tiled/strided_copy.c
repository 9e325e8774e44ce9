/* Conversions to binary16 and copies through L1. Matrices are transposed tile by tile; elements in order
 * stream; for other copies x is all there. What is left takes the way of all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(strided_copy)
#include "../strided_copy.c"
#include "transpose.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "simd/streams_xpulp.h"
#include "tiled/stream.h"

static void narrow(const void *context, void *const *at, uint32_t count) {
    (void)context;
    mct_x_narrow(at[0], at[0], (count + 1) / 2);
}

static bool in_order(const struct mct_strided_copy *d) {
    uint32_t distance = 1;
    for (uint32_t axis = MCT_RANK; axis-- > 0; distance *= d->dims[axis])
        if (d->dims[axis] > 1 && d->strides[axis] != distance)
            return false;
    return true;
}

/* Elements of x that the copy meets, from the first to the last. */
static uint32_t extent(const struct mct_strided_copy *d) {
    uint32_t last = 0;
    for (uint32_t axis = 0; axis < MCT_RANK; axis++)
        last += (d->dims[axis] - 1) * d->strides[axis];
    return last + 1;
}

/* Elements [first, first + count) of the result, from x in L1. */
static void pick(const struct mct_strided_copy *d, mct_elem *y, const void *x, uint32_t first,
                 uint32_t count) {
    const uint32_t stride = d->strides[MCT_RANK - 1];
    uint32_t index[MCT_RANK];
    mct_walk_start(index, d->dims, first);
    while (count) {
        const uint32_t run = mct_min(d->dims[MCT_RANK - 1] - index[MCT_RANK - 1], count);
        const uint32_t offset = mct_walk_offset(index, d->strides);
        if (d->conversion == MCT_NARROW) {
            const float *from = (const float *)x + offset;
#pragma clang loop unroll_count(4)
            for (uint32_t i = 0; i < run; i++, from += stride)
                *y++ = mct_narrow(*from);
        } else {
            const uint16_t *from = (const uint16_t *)x + offset;
            uint16_t *to = (uint16_t *)(void *)y;
#pragma clang loop unroll_count(4)
            for (uint32_t i = 0; i < run; i++, from += stride)
                *to++ = *from;
            y += run;
        }
        count -= run;
        mct_walk_on(index, d->dims, run);
    }
}

/* Everything but transposition; false, at once: too few or too many elements. */
static bool through_l1(const struct mct_strided_copy *d, uint32_t worker, uint32_t workers) {
    const uint32_t size = d->conversion == MCT_NARROW ? sizeof(float) : sizeof(mct_elem);
    const uint32_t whole = extent(d), rest = d->count * sizeof(mct_elem) + 2 * 16;
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    struct mct_l1 l1 = mct_l1_all();
    if (d->count < MCT_STREAM_WORTH || d->conversion == MCT_WIDEN)
        return false;
    if (in_order(d) && d->conversion == MCT_NARROW) {
        const struct mct_stream streams[] = {{d->x, d->y, size, sizeof(mct_elem)}};
        mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, narrow, 0);
    } else if (whole <= l1.left / size && whole * size + rest <= l1.left) {
        uint8_t *x = mct_l1_take(&l1, whole * size);
        mct_elem *y = mct_l1_take(&l1, d->count * sizeof(mct_elem));
        uint32_t begin, end;
        mct_split(whole, worker, workers, &begin, &end);
        uint32_t group = mct_dma_begin();
        if (begin < end)
            mct_l1_in(x + begin * size, (const uint8_t *)d->x + begin * size, (end - begin) * size);
        mct_dma_wait(group);
        mct_barrier();
        pick(d, y + first, x, first, last - first);
        if (first < last) {
            group = mct_dma_begin();
            mct_l1_out((mct_elem *)d->y + first, y + first, (last - first) * sizeof(mct_elem));
            mct_dma_wait(group);
        }
    } else {
        return false;
    }
    return true;
}
#else
static bool through_l1(const struct mct_strided_copy *d, uint32_t worker, uint32_t workers) {
    (void)d, (void)worker, (void)workers;
    return false;
}
#endif

enum { TRANSPOSE_WORTH = 256 }; /* elements */

void MCT_TILED(strided_copy)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_strided_copy *d = args;
    const bool transposed =
        d->conversion != MCT_WIDEN && d->count >= TRANSPOSE_WORTH && mct_transpose(d, worker, workers);
    if (!transposed && !through_l1(d, worker, workers))
        mct_any_shape_strided_copy(args, worker, workers);
}
