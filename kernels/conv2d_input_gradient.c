#include "conv2d_input_gradient_any.h"

void MCT_KERNEL(conv2d_input_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    mct_conv2d_input_gradient_any(args, worker, workers);
}
