/* y[dims] = x[x_dims] moved by begins[] along each axis, zero where x has nothing.
 *
 * A negative begin, or dims smaller than x_dims, cuts elements off. */
#ifndef MCT_PAD_H
#define MCT_PAD_H

#include "elements.h"

struct mct_pad {
    const void *x;
    void *y;
    uint32_t count;
    uint32_t dims[MCT_RANK];
    uint32_t x_dims[MCT_RANK];
    int32_t begins[MCT_RANK];
};

MCT_DECLARE(pad)

#endif
