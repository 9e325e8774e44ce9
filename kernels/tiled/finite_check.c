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

static void look(const void *context, void *const *at, uint32_t count) {
    const bits *x = at[0];
    uint32_t found = 0;
#if defined(MCT_XPULP) && MCT_ELEM == 32
    uint32_t a, b, times = count / 2;
    if (count % 2)
        found = x[count - 1] & MCT_INFINITY;
    /* the greatest exponent, by p.max; the loop ends on an instruction of PULP's, which an emulation sees */
    /* clang-format off */
    if (times)
        __asm__ volatile(
            ".option push\n\t.option norvc\n\t"
            ".insn i 0x7b, 4, x0, %[times], 12\n\t" /* lp.setup: the next six, times times */
            ".insn i 0x0b, 2, %[a], 4(%[x])\n\t" /* p.lw */
            ".insn i 0x0b, 2, %[b], 4(%[x])\n\t"
            "and %[a], %[a], %[mask]\n\t"
            "and %[b], %[b], %[mask]\n\t"
            ".insn r 0x33, 6, 0x02, %[found], %[found], %[a]\n\t" /* p.max */
            ".insn r 0x33, 6, 0x02, %[found], %[found], %[b]\n\t"
            ".option pop"
            : [x] "+r"(x), [found] "+r"(found), [a] "=&r"(a), [b] "=&r"(b)
            : [times] "r"(times), [mask] "r"(MCT_INFINITY)
            : "memory");
    /* clang-format on */
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
    const struct mct_stream streams[] = {{d->x, 0, sizeof(mct_elem), 0}};
    uint32_t first, last;
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_stream_run(streams, sizeof streams / sizeof *streams, first, last, worker, look, &search);
    /* several workers may store, all of them the same word */
    if (found)
        *(volatile int32_t *)d->overflow = 1;
}
