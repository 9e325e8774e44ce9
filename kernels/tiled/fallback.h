/* For a kernel that takes the place of the one of the same name, and leaves it the shapes it does not take.
 *
 * It includes this header and declares MCT_ANY_SHAPE(<stem>), then includes that kernel's file, which thereby
 * defines mct_any_shape_<stem>, and defines MCT_TILED(<stem>). */
#ifndef MCT_TILED_FALLBACK_H
#define MCT_TILED_FALLBACK_H

#include "../mct.h"

#if MCT_ELEM == 16
#define MCT_TILED(stem) mct_##stem##_f16
#else
#define MCT_TILED(stem) mct_##stem##_f32
#endif

#undef MCT_KERNEL
#define MCT_KERNEL(stem) mct_any_shape_##stem

#define MCT_ANY_SHAPE(stem)                                                                                  \
    static __attribute__((noinline)) void mct_any_shape_##stem(const void *args, uint32_t worker,            \
                                                               uint32_t workers);

#endif
