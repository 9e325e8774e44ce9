/* The only door to the element type and to packed arithmetic.
 *
 * A backend defines, for the element type selected by MCT_ELEM (16 or 32):
 *
 *   mct_elem                       storage type
 *   mct_pair                       two consecutive elements of a reduction
 *   float    mct_widen(mct_elem)   exact
 *   mct_elem mct_narrow(float)     one rounding to nearest even, canonical NaN
 *   void     mct_narrow4(y, v, relu)  y[i] = mct_narrow(v[i]) for i < 4, with relu 0 where v[i] < 0;
 *                                  no v[i] is -0
 *   mct_pair mct_load(p)           p[0], p[1]
 *   mct_pair mct_join(p, q)        p[0], q[0]
 *   mct_pair mct_load_low(p)       p[0], 0
 *   void     mct_join4(to, p, q)   to[i] = p[i], q[i] for i < 4
 *   mct_pair mct_both(float v)     v, v
 *   float    mct_dot(acc, a, b)    one step of a dot product over a pair
 *   float    mct_dot_low(acc, a, b)  the same when the second elements are absent
 *   bool     mct_sum_4x4(sum, a, a_stride, b, b_stride, pairs)
 *                                  sum[4 r + c] continues with `pairs` > 0 pairs of row r of a and row c
 *                                  of b; false: the backend leaves it to the caller
 *   bool     mct_sum_tn_4x4(sum, a, a_stride, b, b_stride, pairs)
 *                                  the same with pairs of rows of columns r and c
 *
 * mct_dot on binary16 is acc = f32(acc + f32(a0*b0 + a1*b1)); on binary32 it is
 * two fused multiply-adds, element 0 first.
 */
#ifndef MCT_SIMD_H
#define MCT_SIMD_H

#ifndef MCT_ELEM
#error "compile kernels with -DMCT_ELEM=16 or -DMCT_ELEM=32"
#endif

#include "../mct.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "simd_xpulp.h"
#else
#include "simd_portable.h"
#endif

#endif
