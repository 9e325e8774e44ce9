#include "sgd.h"
#include "sgd_step.h"

void MCT_KERNEL(sgd)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_sgd *d = args;
    uint32_t i, last;
    mct_split_elements(d->count, worker, workers, &i, &last);
    MCT_SGD_STEP(d, i, last, true);
}
