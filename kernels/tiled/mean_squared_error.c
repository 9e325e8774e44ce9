/* Mean squared error through L1: differences and squares are shared out, and one worker sums them. L1 holds
 * the operands, the squares and the gradient. */
#ifdef MCT_XPULP
#include "fallback.h"
MCT_ANY_SHAPE(mean_squared_error)
#include "../mean_squared_error.c"
#include "tiled/l1.h"

void MCT_TILED(mean_squared_error)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_mean_squared_error copy = *(const struct mct_mean_squared_error *)args, *d = &copy;
    struct mct_l1 room = mct_l1_all();
    mct_elem *x = mct_l1_take(&room, d->count * sizeof(mct_elem));
    mct_elem *dx = mct_l1_take(&room, d->count * sizeof(mct_elem));
    float *target = mct_l1_take(&room, d->count * sizeof(float));
    float *squares = mct_l1_take(&room, d->count * sizeof(float));
    if (!x || !dx || !target || !squares) {
        mct_any_shape_mean_squared_error(args, worker, workers);
        return;
    }
    if (worker == 0) {
        const uint32_t group = mct_dma_begin();
        mct_l1_in(x, d->prediction, d->count * sizeof(mct_elem));
        mct_l1_in(target, d->target, d->count * sizeof(float));
        mct_dma_wait(group);
    }
    const float factor = d->dprediction ? 2.0f * *d->scale / (float)d->count : 0.0f;
    mct_barrier();
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    for (; i < last; i++) {
        const float difference = mct_widen(x[i]) - target[i];
        squares[i] = difference * difference;
        dx[i] = mct_narrow(factor * difference);
    }
    mct_barrier();
    if (worker == workers - 1 && d->dprediction) {
        const uint32_t group = mct_dma_begin();
        mct_l1_out(d->dprediction, dx, d->count * sizeof(mct_elem));
        mct_dma_wait(group);
    }
    if (worker == 0) {
        float sum = 0.0f;
#pragma clang loop unroll_count(8)
        for (i = 0; i < d->count; i++)
            sum += squares[i];
        *d->loss = mct_canonical(sum / (float)d->count);
    }
}
#else
#include "../mean_squared_error.c"
#endif
