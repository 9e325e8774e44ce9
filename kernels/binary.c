#include "binary.h"
#include "simd/simd.h"

#define MCT_BINARY_LOOP(expression)                                                                          \
    for (uint32_t i = 0; i < n; i++) {                                                                       \
        float u = mct_widen(a[i * a_stride]), v = mct_widen(b[i * b_stride]);                                \
        y[i] = mct_narrow(expression);                                                                       \
    }                                                                                                        \
    break

MCT_INLINE void mct_binary_run(mct_elem *y, const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                               uint32_t b_stride, uint32_t n, uint32_t operation) {
    switch (operation) {
    case MCT_ADD:
        MCT_BINARY_LOOP(u + v);
    case MCT_SUBTRACT:
        MCT_BINARY_LOOP(u - v);
    case MCT_MULTIPLY:
        MCT_BINARY_LOOP(u * v);
    default:
        MCT_BINARY_LOOP(u / v);
    }
}

void MCT_KERNEL(binary)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_binary *d = args;
    const uint32_t a_stride = d->a_strides[MCT_RANK - 1], b_stride = d->b_strides[MCT_RANK - 1];
    uint32_t first, last, index[MCT_RANK];
    mct_split_elements(d->count, worker, workers, &first, &last);
    mct_walk_start(index, d->dims, first);
    while (first < last) {
        const uint32_t run = mct_min(d->dims[MCT_RANK - 1] - index[MCT_RANK - 1], last - first);
        const mct_elem *a = (const mct_elem *)d->a + mct_walk_offset(index, d->a_strides);
        const mct_elem *b = (const mct_elem *)d->b + mct_walk_offset(index, d->b_strides);
        mct_elem *y = (mct_elem *)d->y + first;
        if (a_stride == 1 && b_stride == 1)
            mct_binary_run(y, a, 1, b, 1, run, d->operation);
        else
            mct_binary_run(y, a, a_stride, b, b_stride, run, d->operation);
        first += run;
        mct_walk_on(index, d->dims, run);
    }
}
