#include "conv2d_forward_any.h"

void MCT_KERNEL(conv2d_forward)(const void *args, uint32_t worker, uint32_t workers) {
    mct_conv2d_forward_any(args, worker, workers);
}
