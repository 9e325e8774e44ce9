/* Weight gradient of a dense layer, TN form: acc[batch][columns][depth] += dy[batch][rows][columns]^T .
 * x[batch][rows][depth].
 * With `squares`, acc += the square of that product.
 *
 * Also the weight gradient of a pointwise convolution, whose rows are pixels. */
#ifndef MCT_DENSE_WEIGHT_GRADIENT_H
#define MCT_DENSE_WEIGHT_GRADIENT_H

#include "mct.h"

struct mct_dense_weight_gradient {
    const void *x;
    const void *dy;
    float *acc;
    uint32_t batch, rows, columns, depth;
    uint32_t squares;                 /* 0 or 1 */
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(dense_weight_gradient)

#endif
