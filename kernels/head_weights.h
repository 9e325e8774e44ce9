/* w[classes][depth] and bias[classes] of a head from Cholesky's U and K, in binary32; nothing unless
 * solved[0].
 *
 * Per class z = K, then for k going up z[k] /= U[k][k], z[i] = fma(-U[k][i], z[k], z[i]) for i > k; then for
 * k going down z[k] /= U[k][k], z[i] = fma(-U[i][k], z[k], z[i]) for i < k. w = z * scale[0],
 * bias = z[depth] * 127; with wide targets (64 bits: high words, then low ones) both by 1 / (32768 scale[1])
 */
#ifndef MCT_HEAD_WEIGHTS_H
#define MCT_HEAD_WEIGHTS_H

#include "elements.h"

struct mct_head_weights {
    const float *factor; /* [size (size + 1) / 2] */
    const int32_t *solved;
    const int32_t *targets; /* [classes][size], or twice */
    const float *scale;     /* [2] */
    void *w;
    float *bias; /* [classes] or null */
    void *workspace;
    uint32_t stride; /* of a worker's workspace, bytes */
    uint32_t wide;
    uint32_t classes, depth, size;
};

MCT_DECLARE(head_weights)

#endif
