/* Matrix product, NT form: y[batch][rows][columns] = activation(x[batch][rows][depth] .
 * w[batch][columns][depth] + bias).
 *
 * Also the forward pass and the input gradient of a pointwise convolution, whose rows are pixels. */
#ifndef MCT_DENSE_H
#define MCT_DENSE_H

#include "mct.h"

struct mct_dense {
    const void *x;
    const void *w;
    const float *bias; /* [columns] or null */
    void *y;
    uint32_t batch, rows, columns, depth;
    uint32_t activation;
    float lo, hi;
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(dense)

#endif
