/* Matrix product, NN form: dx[batch][rows][columns] = dy[batch][rows][depth] . w[batch][depth][columns].
 *
 * The input gradient of a dense layer or a pointwise convolution, whose rows are pixels, from the weights as
 * the forward pass has them. */
#ifndef MCT_DENSE_INPUT_GRADIENT_H
#define MCT_DENSE_INPUT_GRADIENT_H

#include "mct.h"

struct mct_dense_input_gradient {
    const void *dy;
    const void *w;
    void *dx;
    uint32_t batch, rows, columns, depth;
    uint32_t tile_rows, tile_columns; /* see kernels/tiled, 0: as the kernel chooses */
};

MCT_DECLARE(dense_input_gradient)

#endif
