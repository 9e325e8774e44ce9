/* Search for infinities and NaN in what streams through L1. */
#include "fallback.h"
MCT_ANY_SHAPE(finite_check)
#include "../finite_check.c"
#include "tiled/stream.h"

struct search {
    int *found;
};

/* All bits of an exponent are one when it is not below this. */
#if MCT_ELEM == 16
#define MCT_INFINITY 0x7c00u
typedef uint16_t bits;
#else
#define MCT_INFINITY 0x7f800000u
typedef uint32_t bits;
#endif

static void look(const void *context, void *const *out, void *const *in, uint32_t count) {
    (void)out;
    const bits *x = in[0];
    uint32_t found = 0;
#if defined(MCT_XPULP) && MCT_ELEM == 32
    /* the greatest exponent, by p.max */
#pragma clang loop unroll_count(8)
    for (uint32_t i = 0; i < count; i++)
        __asm__(".insn r 0x33, 6, 0x02, %0, %0, %1" : "+r"(found) : "r"(x[i] & MCT_INFINITY));
    if (found == MCT_INFINITY)
        *((const struct search *)context)->found = 1;
#else
#pragma clang loop unroll_count(8)
    for (uint32_t i = 0; i < count; i++)
        found |= (x[i] & MCT_INFINITY) + (MCT_INFINITY & -MCT_INFINITY);
    /* an exponent of ones has carried into the sign */
    if (found & (MCT_INFINITY + (MCT_INFINITY & -MCT_INFINITY)))
        *((const struct search *)context)->found = 1;
#endif
}

void MCT_TILED(finite_check)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_finite_check *d = args;
    if (d->count < MCT_STREAM_WORTH) {
        mct_any_shape_finite_check(args, worker, workers);
        return;
    }
    int found = 0;
    const struct search search = {&found};
    const struct mct_stream in[MCT_STREAMS] = {{(void *)(uintptr_t)d->x, sizeof(mct_elem)}};
    const struct mct_stream out[MCT_STREAMS] = {{0, 0}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(out, in, first, last, worker, look, &search);
    /* several workers may store, all of them the same word */
    if (found)
        *(volatile int32_t *)d->overflow = 1;
}
