/* Sharing out elements, and walking over strided tensors of up to six axes. */
#ifndef MCT_ELEMENTS_H
#define MCT_ELEMENTS_H

#include "mct.h"

enum { MCT_RANK = 6, MCT_ELEMENT_BLOCK = 8 };

/* This worker's elements [first, last) of `count`, whole blocks of eight but for the end. */
MCT_INLINE void mct_split_elements(uint32_t count, uint32_t worker, uint32_t workers, uint32_t *first,
                                   uint32_t *last) {
    mct_split(mct_ceil_div(count, MCT_ELEMENT_BLOCK), worker, workers, first, last);
    *first = mct_min(*first * MCT_ELEMENT_BLOCK, count);
    *last = mct_min(*last * MCT_ELEMENT_BLOCK, count);
}

/* Coordinates of element `position` of a contiguous tensor. */
MCT_INLINE void mct_walk_start(uint32_t index[MCT_RANK], const uint32_t dims[MCT_RANK], uint32_t position) {
    for (uint32_t axis = MCT_RANK; axis-- > 0;) {
        index[axis] = position % dims[axis];
        position /= dims[axis];
    }
}

/* Goes `run` elements on, at most to the end of the innermost axis. */
MCT_INLINE void mct_walk_on(uint32_t index[MCT_RANK], const uint32_t dims[MCT_RANK], uint32_t run) {
    index[MCT_RANK - 1] += run;
    for (uint32_t axis = MCT_RANK - 1; axis > 0 && index[axis] == dims[axis]; axis--) {
        index[axis] = 0;
        index[axis - 1]++;
    }
}

MCT_INLINE uint32_t mct_walk_offset(const uint32_t index[MCT_RANK], const uint32_t strides[MCT_RANK]) {
    uint32_t offset = 0;
    for (uint32_t axis = 0; axis < MCT_RANK; axis++)
        offset += index[axis] * strides[axis];
    return offset;
}

#endif
