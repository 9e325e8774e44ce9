/* SIMD backend in plain C: a pair is two floats, widened when it is loaded, so
 * that a register block converts each element once and uses it several times. */
#ifndef MCT_SIMD_PORTABLE_H
#define MCT_SIMD_PORTABLE_H

#if MCT_ELEM == 16
typedef _Float16 mct_elem;
#else
typedef float mct_elem;
#endif

typedef struct {
    float low, high;
} mct_pair;

MCT_INLINE float mct_widen(mct_elem v) {
    return (float)v;
}

/* RISC-V arithmetic returns the canonical NaN; other hosts are made to. */
MCT_INLINE float mct_canonical(float v) {
    return v != v ? __builtin_nanf("") : v;
}

MCT_INLINE mct_elem mct_narrow(float v) {
    return (mct_elem)mct_canonical(v);
}

MCT_INLINE void mct_narrow4(mct_elem *y, const float *v, bool relu) {
    for (uint32_t i = 0; i < 4; i++)
        y[i] = mct_narrow(relu && v[i] < 0.0f ? 0.0f : v[i]);
}

MCT_INLINE mct_pair mct_load(const mct_elem *p) {
    return (mct_pair){mct_widen(p[0]), mct_widen(p[1])};
}

MCT_INLINE mct_pair mct_join(const mct_elem *p, const mct_elem *q) {
    return (mct_pair){mct_widen(*p), mct_widen(*q)};
}

MCT_INLINE mct_pair mct_load_low(const mct_elem *p) {
    return (mct_pair){mct_widen(p[0]), 0.0f};
}

MCT_INLINE void mct_join4(mct_pair to[4], const mct_elem *p, const mct_elem *q) {
    for (uint32_t i = 0; i < 4; i++)
        to[i] = mct_join(p + i, q + i);
}

MCT_INLINE mct_pair mct_both(float v) {
    return (mct_pair){v, v};
}

MCT_INLINE float mct_dot(float acc, mct_pair a, mct_pair b) {
#if MCT_ELEM == 16
    /* products of binary16 are exact in binary32, so one fused step rounds their sum once */
    return acc + __builtin_fmaf(a.high, b.high, a.low * b.low);
#else
    return __builtin_fmaf(a.high, b.high, __builtin_fmaf(a.low, b.low, acc));
#endif
}

MCT_INLINE float mct_dot_low(float acc, mct_pair a, mct_pair b) {
    return __builtin_fmaf(a.low, b.low, acc);
}

MCT_INLINE bool mct_sum_4x4(float *sum, const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                            uint32_t b_stride, uint32_t pairs) {
    (void)sum, (void)a, (void)a_stride, (void)b, (void)b_stride, (void)pairs;
    return false;
}

MCT_INLINE bool mct_sum_tn_4x4(float *sum, const mct_elem *a, uint32_t a_stride, const mct_elem *b,
                               uint32_t b_stride, uint32_t pairs) {
    (void)sum, (void)a, (void)a_stride, (void)b, (void)b_stride, (void)pairs;
    return false;
}

#endif
