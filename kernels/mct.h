/* Conventions every kernel shares.
 *
 * A kernel is a function (args, worker, workers): the workers call it at the
 * same time with the same args, and each does its share of the blocks.  The
 * reduction axis is never split, so the result does not depend on `workers`.
 *
 * A kernel file <stem>.c is compiled once per element type, with -DMCT_ELEM=16
 * (binary16) or -DMCT_ELEM=32 (binary32), and defines MCT_KERNEL(<stem>).  Its
 * header <stem>.h holds struct mct_<stem>, the same for both types: tensors are
 * plain addresses in it, sizes are in elements.
 */
#ifndef MCT_H
#define MCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*mct_kernel)(const void *args, uint32_t worker, uint32_t workers);

#define MCT_DECLARE(stem)                                                                                    \
    void mct_##stem##_f16(const void *args, uint32_t worker, uint32_t workers);                              \
    void mct_##stem##_f32(const void *args, uint32_t worker, uint32_t workers);

#if defined(MCT_ELEM) && MCT_ELEM == 16
#define MCT_KERNEL(stem) mct_##stem##_f16
#else
#define MCT_KERNEL(stem) mct_##stem##_f32
#endif

#define MCT_INLINE static inline __attribute__((always_inline, unused))

/* A function that runs once a call: its code comes from slow memory then, so that its size is its time. */
#ifdef __clang__
#define MCT_SMALL __attribute__((minsize))
#else
#define MCT_SMALL __attribute__((optimize("Os")))
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);

/* This worker's share [first, last) of `items`; shares differ by at most one. */
MCT_INLINE void mct_split(uint32_t items, uint32_t worker, uint32_t workers, uint32_t *first,
                          uint32_t *last) {
    /* the usual number without a division, which takes a small core long */
    uint32_t share = workers == 8 ? items / 8 : items / workers, rest = items - share * workers;
    *first = worker * share + (worker < rest ? worker : rest);
    *last = *first + share + (worker < rest ? 1 : 0);
}

MCT_INLINE uint32_t mct_min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

MCT_INLINE uint32_t mct_ceil_div(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

/* Activations that a kernel applies in binary32 before it rounds its result. */
enum { MCT_NO_ACTIVATION = 0, MCT_RELU = 1, MCT_CLIP = 2 };

/* NaN passes through. */
MCT_INLINE float mct_activate(float v, uint32_t activation, float lo, float hi) {
    if (activation == MCT_RELU)
        return v < 0.0f ? 0.0f : v;
    if (activation == MCT_CLIP)
        return v < lo ? lo : v > hi ? hi : v;
    return v;
}

#endif
