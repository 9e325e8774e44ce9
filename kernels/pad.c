#include "pad.h"
#include "simd/simd.h"

/* The element of x under the start of a row of y; false when the whole row is outside x. */
static bool mct_pad_row(const struct mct_pad *d, const uint32_t index[MCT_RANK], uint32_t *offset) {
    uint32_t row = 0;
    for (uint32_t axis = 0; axis + 1 < MCT_RANK; axis++) {
        /* below zero wraps round and is as outside as beyond the end */
        const uint32_t at = index[axis] - (uint32_t)d->begins[axis];
        if (at >= d->x_dims[axis])
            return false;
        row = (row + at) * d->x_dims[axis + 1];
    }
    *offset = row;
    return true;
}

void MCT_KERNEL(pad)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_pad *d = args;
    const uint32_t width = d->x_dims[MCT_RANK - 1];
    uint32_t first, last, index[MCT_RANK];
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_walk_start(index, d->dims, first);
    while (first < last) {
        const uint32_t run = mct_min(d->dims[MCT_RANK - 1] - index[MCT_RANK - 1], last - first);
        const uint32_t start = index[MCT_RANK - 1] - (uint32_t)d->begins[MCT_RANK - 1];
        mct_elem *y = (mct_elem *)d->y + first;
        uint32_t offset = 0;
        const bool inside = mct_pad_row(d, index, &offset);
        const mct_elem *x = (const mct_elem *)d->x + offset;
        for (uint32_t i = 0; i < run; i++)
            y[i] = inside && start + i < width ? x[start + i] : (mct_elem)0;
        first += run;
        mct_walk_on(index, d->dims, run);
    }
}
