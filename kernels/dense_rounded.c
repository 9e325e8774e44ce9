#include "dense_rounded.h"
#include "gemm_block.h"

/* Rounded weights on the stack, an even number. */
enum { CHUNK = 32 };

void MCT_KERNEL(dense_rounded)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense_rounded *d = args;
    const struct mct_finish finish = {d->bias, d->activation, d->lo, d->hi};
    const mct_elem *x = d->x;
    mct_elem *y = d->y, rounded[CHUNK];
    uint32_t column, last;
    mct_split(d->columns, worker, workers, &column, &last);
    for (; column < last; column++) {
        const float *w = d->w + column * d->depth;
        float sum[1] = {0};
        for (uint32_t k = 0; k < d->depth; k += CHUNK) {
            const uint32_t count = mct_min(CHUNK, d->depth - k);
            for (uint32_t i = 0; i < count; i++)
                rounded[i] = mct_narrow(w[k + i]);
            mct_block_1x1(sum, x + k, 0, rounded, 0, count);
        }
        y[column] = mct_finished(sum[0], &finish, column);
    }
}
