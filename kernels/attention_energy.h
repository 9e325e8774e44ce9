/* energy[count] = the sum of squares of x[count][channels], one by one in index order */
#ifndef MCT_ATTENTION_ENERGY_H
#define MCT_ATTENTION_ENERGY_H

#include "elements.h"

struct mct_attention_energy {
    const void *x;
    float *energy;
    uint32_t count, channels;
};

MCT_DECLARE(attention_energy)

#endif
