/* Cross-entropy of one row: the workers share out its classes, and hand each other through L1 what every one
 * of them has found. More rows are shared out as on all targets. */
#include "fallback.h"
MCT_ANY_SHAPE(cross_entropy)
#include "../cross_entropy.c"
#include "tiled/l1.h"

MCT_SMALL void MCT_TILED(cross_entropy)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_cross_entropy *d = args;
    struct mct_l1 l1 = mct_l1_all();
    const uint32_t classes = d->classes, label = (uint32_t)*d->label;
    float *x = mct_l1_take(&l1, classes * sizeof(float)), *p = mct_l1_take(&l1, classes * sizeof(float));
    if (d->rows != 1 || label >= classes || !x || !p) {
        mct_any_shape_cross_entropy(args, worker, workers);
        return;
    }
    for (uint32_t i = worker; i < classes; i += workers)
        x[i] = mct_widen(((const mct_elem *)d->logits)[i]);
    mct_barrier();
    float largest = x[0], sum = 0.0f, loss = 0.0f;
    for (uint32_t i = 1; i < classes; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (uint32_t i = worker; i < classes; i += workers)
        p[i] = mct_exp(x[i] - largest);
    mct_barrier();
    for (uint32_t i = 0; i < classes; i++)
        sum += p[i];
    if (worker == workers - 1) { /* the one with the least to do */
        loss += mct_log(sum) - (x[label] - largest);
        *d->loss = mct_canonical(loss / (float)d->rows);
    }
    if (!d->dlogits)
        return;
    const float factor = *d->scale / (float)d->rows;
    mct_elem *dx = d->dlogits;
    mct_barrier(); /* all have summed up */
    for (uint32_t i = worker; i < classes; i += workers) {
        p[i] /= sum;
        if (i != label)
            dx[i] = mct_narrow(factor * p[i]);
    }
    mct_barrier();
    if (worker == 0) {
        float others = 0.0f;
        for (uint32_t i = 0; i < classes; i++)
            others += i == label ? 0.0f : p[i];
        dx[label] = mct_narrow(factor * -others);
    }
}
