/* Cholesky: factor^T factor = gram + ridge[0] I, upper triangles by rows of a matrix with `size` rows, in
 * binary32.
 *
 * For k going up: U[k][k] = sqrt(A[k][k]), U[k][j] = A[k][j] / U[k][k], then
 * A[i][j] = fma(-U[k][i], U[k][j], A[i][j]). solved[0] = 1; a pivot that is not above zero: 0, and a factor
 * of zeros. Worker 0 does it all */
#ifndef MCT_GRAM_FACTOR_H
#define MCT_GRAM_FACTOR_H

#include "elements.h"

struct mct_gram_factor {
    const int32_t *gram;
    const float *ridge; /* [1] */
    float *factor;
    int32_t *solved;
    uint32_t size;
};

MCT_DECLARE(gram_factor)

#endif
