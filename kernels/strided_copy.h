/* y[dims], contiguous, = x at any strides: transposition, broadcast and conversion.
 *
 * Conversions exist in the binary16 build: x or y is then binary32. */
#ifndef MCT_STRIDED_COPY_H
#define MCT_STRIDED_COPY_H

#include "elements.h"

enum { MCT_KEEP = 0, MCT_NARROW = 1, MCT_WIDEN = 2 };

struct mct_strided_copy {
    const void *x;
    void *y;
    uint32_t conversion;
    uint32_t count;
    uint32_t dims[MCT_RANK];
    uint32_t strides[MCT_RANK]; /* of x, in its elements */
};

MCT_DECLARE(strided_copy)

#endif
