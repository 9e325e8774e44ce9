/* exp, log, tanh and sigmoid in binary32, bit for bit as mcutrain/numerics/math.py.
 *
 * Each is a fixed polynomial whose operations round one by one in the order
 * written: no fused multiply-add, no library call.  Errors are at most 2 ulp
 * over all of binary32 (measured over every argument; tests/numerics repeats it on
 * dense samples), subnormal results included.
 */
#ifndef MCT_MATH_H
#define MCT_MATH_H

#include "mct.h"

MCT_INLINE uint32_t mct_bits(float x) {
    union {
        float value;
        uint32_t bits;
    } u = {.value = x};
    return u.bits;
}

MCT_INLINE float mct_from_bits(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } u = {.bits = bits};
    return u.value;
}

/* NaN or infinity */
MCT_INLINE int mct_not_finite(float x) {
    return (mct_bits(x) & 0x7f800000u) == 0x7f800000u;
}

/* 2^n for -126 <= n <= 127 */
MCT_INLINE float mct_power_of_two(int32_t n) {
    return mct_from_bits((uint32_t)(n + 127) << 23);
}

/* e^x and, in *low, what its last addition rounded away; overflows to infinity, underflows
 * through the subnormals to zero */
MCT_INLINE float mct_exp_parts(float x, float *low) {
    *low = 0.0f;
    if (x != x)
        return x;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    /* adding and subtracting 1.5 * 2^23 rounds to the nearest integer */
    const float n = (x * 0x1.715476p+0f + 0x1.8p+23f) - 0x1.8p+23f;
    /* ln 2 = 0x1.63p-1 - 0x1.bd0106p-13, the first part so short that n times it is exact */
    const float r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
    float p = 0x1.6a244cp-10f;
    p = p * r + 0x1.1239d4p-7f;
    p = p * r + 0x1.5558f2p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    const float t = r + (r * r) * p;
    const float y = 1.0f + t;
    /* two steps keep both factors normal; only the second can round */
    const int32_t k = (int32_t)n;
    const int32_t half = k >> 1;
    *low = ((t - (y - 1.0f)) * mct_power_of_two(half)) * mct_power_of_two(k - half);
    return (y * mct_power_of_two(half)) * mct_power_of_two(k - half);
}

MCT_INLINE float mct_exp(float x) {
    float low;
    return mct_exp_parts(x, &low);
}

/* natural logarithm; -infinity at zero, NaN below */
MCT_INLINE float mct_log(float x) {
    if (!(x > 0.0f))
        return x == 0.0f ? mct_from_bits(0xff800000u) : mct_from_bits(0x7fc00000u);
    if (mct_not_finite(x))
        return x;
    int32_t k = 0;
    if (x < 0x1p-126f) {
        x = x * 0x1p+23f;
        k = -23;
    }
    /* x = 2^k m with sqrt(1/2) <= m < sqrt(2) */
    const uint32_t shifted = mct_bits(x) - 0x3f3504f3u;
    k += (int32_t)shifted >> 23;
    const float m = mct_from_bits((shifted & 0x007fffffu) + 0x3f3504f3u);
    const float f = m - 1.0f;
    const float s = f / (2.0f + f);
    const float z = s * s;
    float p = 0x1.e31f7cp-3f;
    p = p * z + 0x1.2437d2p-2f;
    p = p * z + 0x1.999a7ep-2f;
    p = p * z + 0x1.555554p-1f;
    const float half_square = (0.5f * f) * f;
    const float n = (float)k;
    const float tail = s * (half_square + p * z) + n * -0x1.bd0106p-13f;
    return n * 0x1.63p-1f - ((half_square - tail) - f);
}

/* hyperbolic tangent; +0 at both zeros */
MCT_INLINE float mct_tanh(float x) {
    if (x < 0.625f && x > -0.625f) {
        const float z = x * x;
        float p = 0x1.1974c6p-9f;
        p = p * z + -0x1.0c1f82p-7f;
        p = p * z + 0x1.639482p-6f;
        p = p * z + -0x1.b9ef76p-5f;
        p = p * z + 0x1.11106cp-3f;
        p = p * z + -0x1.555554p-2f;
        return x + (x * z) * p;
    }
    const float magnitude = x < 0.0f ? -x : x;
    const float y = 1.0f - 2.0f / (mct_exp(magnitude + magnitude) + 1.0f);
    return x < 0.0f ? -y : y;
}

/* 1 / (1 + e^-x): the quotient of the rounded terms, and a step with what they lost */
MCT_INLINE float mct_sigmoid(float x) {
    float low;
    const float e = mct_exp_parts(x < 0.0f ? x : -x, &low);
    const float numerator = x < 0.0f ? e : 1.0f;
    const float numerator_low = x < 0.0f ? low : 0.0f;
    const float s = 1.0f + e;
    const float s_low = (e - (s - 1.0f)) + low;
    const float q = numerator / s;
    return q + (numerator_low - q * s_low) / s;
}

#endif
