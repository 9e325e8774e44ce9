/* A call's arguments in L1: a worker waits for each word that it reads from other memory. For kernels with
 * more of them than the board brings before a call begins, see targets/gvsoc/board.c. */
#ifndef MCT_TILED_ARGUMENTS_H
#define MCT_TILED_ARGUMENTS_H

#include "l1.h"

enum { MCT_ARGUMENTS = 176 };

/* A copy of `bytes` <= MCT_ARGUMENTS bytes, whose words the workers share, if L1 has room for it. It is in
 * the way of kernels that have all of L1: workers meet before they call one. */
MCT_INLINE const void *mct_l1_arguments(const void *args, uint32_t bytes, uint32_t worker, uint32_t workers) {
    const uint32_t *from = args;
    uint32_t *to = (uint32_t *)(void *)(mct_l1() + MCT_SHARED);
    if (mct_l1_size() < MCT_SHARED + MCT_ARGUMENTS)
        return args;
#pragma clang loop unroll(disable) vectorize(disable)
    for (uint32_t i = worker; i < bytes / 4; i += workers)
        to[i] = from[i];
    mct_barrier();
    return to;
}

#endif
