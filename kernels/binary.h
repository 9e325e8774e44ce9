/* y = a (operation) b with broadcasting, in binary32, one rounding to the element type.
 *
 * y is contiguous of shape dims; an operand's stride is 0 along an axis it is broadcast over. */
#ifndef MCT_BINARY_H
#define MCT_BINARY_H

#include "elements.h"

enum { MCT_ADD = 0, MCT_SUBTRACT = 1, MCT_MULTIPLY = 2, MCT_DIVIDE = 3 };

struct mct_binary {
    const void *a;
    const void *b;
    void *y;
    uint32_t operation;
    uint32_t count;
    uint32_t dims[MCT_RANK];
    uint32_t a_strides[MCT_RANK];
    uint32_t b_strides[MCT_RANK];
};

MCT_DECLARE(binary)

#endif
