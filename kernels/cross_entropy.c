#include "cross_entropy.h"
#include "softmax_row.h"

static float mct_cross_entropy_of_row(const mct_elem *x, uint32_t classes, uint32_t label) {
    if (label >= classes)
        return 0.0f;
    const struct mct_softmax_row row = mct_softmax_of_row(x, classes, 1);
    return mct_log(row.sum) - (mct_widen(x[label]) - row.largest);
}

static void mct_cross_entropy_gradient_of_row(mct_elem *dx, const mct_elem *x, uint32_t classes,
                                              uint32_t label, float factor) {
    if (label >= classes) {
        memset(dx, 0, classes * sizeof *dx);
        return;
    }
    const struct mct_softmax_row row = mct_softmax_of_row(x, classes, 1);
    float others = 0.0f;
    for (uint32_t i = 0; i < classes; i++) {
        if (i == label)
            continue;
        const float p = mct_exp(mct_widen(x[i]) - row.largest) / row.sum;
        others += p;
        dx[i] = mct_narrow(factor * p);
    }
    dx[label] = mct_narrow(factor * -others);
}

/* Worker 0 sums the losses of all rows; gradients are shared out by rows. */
void MCT_KERNEL(cross_entropy)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_cross_entropy *d = args;
    const mct_elem *x = d->logits;
    if (worker == 0) {
        float sum = 0.0f;
        for (uint32_t row = 0; row < d->rows; row++)
            sum += mct_cross_entropy_of_row(x + row * d->classes, d->classes, (uint32_t)d->label[row]);
        *d->loss = mct_canonical(sum / (float)d->rows);
    }
    if (!d->dlogits)
        return;
    const float factor = *d->scale / (float)d->rows;
    uint32_t row, last;
    mct_split(d->rows, worker, workers, &row, &last);
    for (; row < last; row++)
        mct_cross_entropy_gradient_of_row((mct_elem *)d->dlogits + row * d->classes, x + row * d->classes,
                                          d->classes, (uint32_t)d->label[row], factor);
}
