/* Sums and counts whose order does not depend on how many workers share them, see
 * mcutrain/numerics/portions.py: the elements are cut into eight portions, whoever works on them. */
#ifndef MCT_PORTIONS_H
#define MCT_PORTIONS_H

#include "elements.h"

enum { MCT_PORTIONS = 8 };

/* Elements [first, last) of a portion: whole blocks of eight but for the end. */
MCT_INLINE void mct_portion(uint32_t count, uint32_t portion, uint32_t *first, uint32_t *last) {
    mct_split_elements(count, portion, MCT_PORTIONS, first, last);
}

#endif
