"""Positive numbers in a byte: quarter octaves, that is base-2 logarithms in steps of a quarter, rounded up.

Code 0 is zero.  Code k from 1 to 255 is 2^((k - 161) / 4): 2^-40 (9.1e-13) is code 1, one is code 161 and
2^23.5 (1.2e7) code 255.  A number gets the least code that is not below it, so that decoding never gives
less than was encoded, and at most 2^(1/4) = 1.19 times as much, but at the ends: a number above the largest
code gets 255, one between zero and the smallest gets 1.  Negative numbers and -0 get 0, NaN gets 255.

The codes come from the bits of the FP32 number, by comparing its mantissa with those of 2^(1/4), 2^(1/2)
and 2^(3/4), rounded to FP32; no logarithm is computed.  ``kernels/octaves.h`` does the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcutrain.numerics.rounding import Float32

#: Mantissa bits of 2^(q/4) in FP32.
MANTISSAS = (0, 0x1837F0, 0x3504F3, 0x5744FD)
#: Biased exponent of code 1.
LOWEST = 127 - 40


def encode(x: Float32) -> npt.NDArray[np.uint8]:
    """f32 of any shape → its codes."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.int64)
    mantissa = bits & 0x7FFFFF
    quarters = sum((mantissa > threshold).astype(np.int64) for threshold in MANTISSAS)
    code = 4 * ((bits >> 23) - LOWEST) + quarters + 1
    code = np.where((bits == 0) | (bits >> 31 == 1), 0, np.clip(code, 1, 255))
    return np.where(bits & 0x7FFFFFFF > 0x7F800000, 255, code).astype(np.uint8)


def decode(code: npt.NDArray[np.uint8]) -> Float32:
    """Codes → f32 of the same shape."""
    step = code.astype(np.int32) - 1
    bits = ((step >> 2) + LOWEST) << 23 | np.array(MANTISSAS, np.int32)[step & 3]
    return np.where(code == 0, np.int32(0), bits).astype(np.int32).view(np.float32)
