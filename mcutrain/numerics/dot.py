"""Dot products with the device's order and roundings, vectorised over the outputs.

Two accumulation rules (numerics.md):

pair-f32
    f16 operands, f32 accumulator: ``acc = f32(acc + f32(a0*b0 + a1*b1))`` over
    consecutive pairs, an odd end paired with zero.  Products of two f16 are
    exact in f32, so plain float32 arithmetic gives the device's bits.
seq-f32
    f32 operands: one fused multiply-add per element, in order.  NumPy has no
    fused multiply-add in f32.  The product of two f32 is exact in f64; the sum
    with the accumulator is rounded to f64 and then to f32, which differs from
    one rounding only where the f64 sum lies half way between two f32 numbers.
    Those elements (and results below f32's normal range) are done again with an
    error-free sum (TwoSum, Knuth) rounded to odd, after which the second
    rounding is innocuous (Boldo and Melquiond, 2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_BELOW_F32 = np.int64((1 << 29) - 1)  # the f64 mantissa bits that f32 lacks
_HALF_WAY = np.int64(1 << 28)
_SMALLEST_NORMAL = np.float64(np.finfo(np.float32).smallest_normal)


def dot(a: Array, b: Array, acc: Float32 | None = None) -> Float32:
    """``acc + sum_k a[k] * b[k]``, the other axes broadcast against each other.

    a: [K, ...], b: [K, ...], both f16 (pair-f32) or both f32 (seq-f32);
    acc: f32 of the broadcast shape, zeros when None, not changed.
    For speed the last axis should be the longest.
    """
    if a.dtype != b.dtype or a.dtype not in (np.float16, np.float32) or len(a) != len(b):
        got = f"{a.dtype}{a.shape}, {b.dtype}{b.shape}"
        raise ValueError(f"dot needs f16 or f32 operands of one type and depth, got {got}")
    shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    total = np.zeros(shape, np.float32) if acc is None else np.array(np.broadcast_to(acc, shape), np.float32)
    if total.size == 0 or len(a) == 0:
        return total
    with np.errstate(all="ignore"):
        return _pairwise(a, b, total) if a.dtype == np.float16 else _sequential(a, b, total)


def dot_nt(x: Array, w: Array, acc: Float32 | None = None) -> Float32:
    """``acc[m, n] + sum_k x[m, k] * w[n, k]``: x [M, K], w [N, K] -> f32 [M, N]."""
    return dot_tn(x.T, w.T, acc)


def dot_tn(x: Array, w: Array, acc: Float32 | None = None) -> Float32:
    """``acc[m, n] + sum_k x[k, m] * w[k, n]``: x [K, M], w [K, N] -> f32 [M, N]."""
    if x.shape[1] > w.shape[1]:
        return dot_tn(w, x, None if acc is None else acc.T).T
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    return dot(x[:, :, None], w[:, None, :], acc)


def fused_multiply_add(a: Array, b: Array, c: Array) -> Float32:
    """``f32(a*b + c)`` with one rounding, for f32 arrays that broadcast (C: ``__builtin_fmaf``)."""
    with np.errstate(all="ignore"):
        product = np.asarray(np.multiply(a, b, dtype=np.float64))
        return _round_once(product, np.asarray(c, np.float64)).astype(np.float32)


def _pairwise(a: Array, b: Array, total: Float32) -> Float32:
    a, b = a.astype(np.float32), b.astype(np.float32)
    low, high = np.empty_like(total), np.empty_like(total)
    even = len(a) - len(a) % 2
    for k in range(0, even, 2):
        np.multiply(a[k], b[k], out=low)
        np.multiply(a[k + 1], b[k + 1], out=high)
        low += high
        total += low
    if even < len(a):
        np.multiply(a[even], b[even], out=low)
        total += low
    return total


def _sequential(a: Array, b: Array, total: Float32) -> Float32:
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = np.empty(total.shape, np.float64)
    exact_total = total.astype(np.float64)
    for k in range(len(a)):
        np.multiply(a[k], b[k], out=product)
        total[...] = _round_once(product, exact_total)
        exact_total[...] = total
    return total


def _round_once(product: Float64, addend: Float64) -> Float64:
    """An f64 that rounds to f32 like the exact ``product + addend``."""
    total: Float64 = np.asarray(np.add(product, addend))
    doubtful = (total.view(np.int64) & _BELOW_F32) == _HALF_WAY
    doubtful |= np.abs(total) < _SMALLEST_NORMAL
    if doubtful.any():
        p = np.broadcast_to(product, total.shape)[doubtful]
        c = np.broadcast_to(addend, total.shape)[doubtful]
        total[doubtful] = _round_to_odd(p, c)
    return total


def _round_to_odd(p: Float64, c: Float64) -> Float64:
    """``p + c`` in f64, rounded to the neighbour with an odd last bit when it is inexact."""
    total = p + c
    part = total - p
    error = (p - (total - part)) + (c - part)
    bits = total.view(np.int64)
    towards = np.where((error > 0) == (total > 0), 1, -1)
    inexact = np.isfinite(total) & (error != 0) & np.isfinite(error)
    return np.where(inexact & (bits % 2 == 0), bits + towards, bits).view(np.float64)
