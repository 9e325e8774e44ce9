"""Conversions between element types and the activations fused into kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

#: Bit pattern of the one NaN that results may contain.
CANONICAL_NAN: dict[int, int] = {2: 0x7E00, 4: 0x7FC00000}


def canonical(x: Array) -> Array:
    """``x`` with every NaN replaced by the canonical one (f16 0x7e00, f32 0x7fc00000)."""
    bad = np.isnan(x)
    if bad.any():
        x = x.copy()
        x.view(f"u{x.itemsize}")[bad] = CANONICAL_NAN[x.itemsize]
    return x


def widen(x: Array) -> Float32:
    """f16 or f32 to f32, exact."""
    return x.astype(np.float32, copy=False)


def narrow(x: Float32, dtype: npt.DTypeLike) -> Array:
    """f32 to f16 or f32: one rounding to nearest even, canonical NaN.  C: ``mct_narrow``."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return canonical(np.asarray(x, order="C").astype(dtype, copy=False))


def add_squares(acc: Float32, g: Float32) -> Float32:
    """acc + g² in f32: the square rounds, then the sum; canonical NaN.  C: ``mct_square``."""
    with np.errstate(all="ignore"):
        return canonical(np.asarray(acc + g * g))


def activate(x: Float32, activation: str, lo: float, hi: float) -> Float32:
    """``none``, ``relu`` or ``clip`` to [lo, hi] in f32; NaN passes.  C: ``mct_activate``."""
    if activation == "relu":
        return np.where(x < 0, np.float32(0), x)
    if activation == "clip":
        low, high = np.float32(lo), np.float32(hi)
        return np.where(x < low, low, np.where(x > high, high, x))
    return x
