/* Depthwise convolution through L1: a variant for binary16, 3 by 3 taps and channels in fours.
 * Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_forward)
#include "../depthwise_forward.c"
#include "tiled/depthwise_walk.h"

void MCT_TILED(depthwise_forward)(const void *args, uint32_t worker, uint32_t workers) {
    mct_depthwise(args, worker, workers, mct_any_shape_depthwise_forward);
}
#else
#include "../depthwise_forward.c"
#endif
