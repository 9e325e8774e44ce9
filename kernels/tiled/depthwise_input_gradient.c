/* Input gradient of a depthwise convolution through L1: a variant for binary16, 3 by 3 taps, stride 1 and
 * channels in fours: a convolution of dy whose taps go the other way. Other shapes take the way of all
 * targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_input_gradient)
#include "../depthwise_input_gradient.c"
#include "tiled/depthwise_walk.h"

void MCT_TILED(depthwise_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    mct_depthwise(args, worker, workers, mct_any_shape_depthwise_input_gradient);
}
#else
#include "../depthwise_input_gradient.c"
#endif
