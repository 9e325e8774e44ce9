/* One value in all elements: it is in L1 a few times, and DMA repeats it. */
#include "fallback.h"
MCT_ANY_SHAPE(fill)
#include "../fill.c"
#include "tiled/stream.h"

enum { ELEMENTS = 512 };

void MCT_TILED(fill)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_fill *d = args;
    struct mct_l1 l1 = mct_l1_all();
    mct_elem *here = mct_l1_take(&l1, ELEMENTS * sizeof(mct_elem));
    if (d->count < MCT_STREAM_WORTH || !here) {
        mct_any_shape_fill(args, worker, workers);
        return;
    }
    const mct_elem value = mct_narrow(d->value);
    uint32_t first, last;
    mct_split(ELEMENTS, worker, workers, &first, &last);
    for (; first < last; first++)
        here[first] = value;
    mct_barrier();
    mct_split_elements(d->count, worker, workers, &first, &last);
    const uint32_t group = mct_dma_begin();
    for (; first < last; first += ELEMENTS)
        mct_dma_out((mct_elem *)d->y + first, here, mct_min(ELEMENTS, last - first) * sizeof(mct_elem));
    mct_dma_wait(group);
}
