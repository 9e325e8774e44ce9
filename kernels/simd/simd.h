/* The only door to the element type and to packed arithmetic.
 *
 * A backend defines, for the element type selected by MCT_ELEM (16 or 32):
 *
 *   mct_elem                       storage type
 *   mct_pair                       two consecutive elements of a reduction
 *   float    mct_widen(mct_elem)   exact
 *   mct_elem mct_narrow(float)     one rounding to nearest even, canonical NaN
 *   mct_pair mct_load(p)           p[0], p[1]
 *   mct_pair mct_join(p, q)        p[0], q[0]
 *   mct_pair mct_load_low(p)       p[0], 0
 *   float    mct_dot(acc, a, b)    one step of a dot product over a pair
 *   float    mct_dot_low(acc, a, b)  the same when the second elements are absent
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
#include "simd_portable.h"

#endif
