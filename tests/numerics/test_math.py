"""exp, log, tanh and sigmoid: error bound over dense samples, special values, same bits in C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kernel_harness import KERNELS, compile_source

from mcutrain.numerics import math as f32

F64: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
NAMES = sorted(F64)
MAX_ULP = 2.0


def samples(seed: int) -> np.ndarray:
    """Every 4001st finite binary32 number of either sign, and dense ranges in between."""
    bits = np.arange(seed, 0x7F800000, 4001, dtype=np.uint32)
    positive = bits.view(np.float32)
    dense = [np.linspace(a, b, 50_000, dtype=np.float32) for a, b in ((0.5, 2), (0, 12), (80, 110))]
    positive = np.concatenate([positive, *dense])
    return np.concatenate([positive, -positive])


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance from the exact result in units of the last binary32 place at that result."""
    _, exponent = np.frexp(want)
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 24)
    return np.abs(got.astype(np.float64) - want) / unit


@pytest.mark.parametrize("name", NAMES)
def test_error_is_within_the_stated_bound(name: str) -> None:
    x = samples(seed=7)
    with np.errstate(all="ignore"):
        want = F64[name](x.astype(np.float64))
    got = getattr(f32, name)(x)
    assert got.dtype == np.float32
    assert np.array_equal(np.isnan(got), np.isnan(want))
    # beyond the largest binary32 number and half a unit, the correct result is infinite
    finite = np.abs(np.where(np.isnan(want), np.inf, want)) < 3.4028235677973366e38
    with np.errstate(over="ignore"):
        assert np.array_equal(got[~finite], want[~finite].astype(np.float32), equal_nan=True)
    assert not (ulps(got[finite], want[finite]).max() > MAX_ULP)


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [
        (
            "exp",
            [np.nan, np.inf, -np.inf, 0.0, 89.0, -104.0, 1000.0],
            [np.nan, np.inf, 0, 1, np.inf, 0, np.inf],
        ),
        ("log", [np.nan, np.inf, -1.0, 0.0, -0.0, 1.0], [np.nan, np.inf, np.nan, -np.inf, -np.inf, 0]),
        ("tanh", [np.nan, np.inf, -np.inf, 0.0, 20.0], [np.nan, 1, -1, 0, 1]),
        ("sigmoid", [np.nan, np.inf, -np.inf, 0.0, 200.0, -200.0], [np.nan, 1, 0, 0.5, 1, 0]),
    ],
)
def test_special_values(name: str, x: list[float], want: list[float]) -> None:
    assert np.array_equal(getattr(f32, name)(np.float32(x)), np.float32(want), equal_nan=True)


def test_tanh_is_odd() -> None:
    x = np.linspace(1e-3, 10, 10_001, dtype=np.float32)
    assert np.array_equal(f32.tanh(-x).view(np.uint32), (-f32.tanh(x)).view(np.uint32))


def test_scalars_and_shapes() -> None:
    assert f32.exp(1.0).shape == ()
    assert f32.log(np.ones((2, 3), np.float32)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_c_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    source = tmp_path / "table.c"
    source.write_text(
        f'#include "{KERNELS}/mct_math.h"\n'
        "void table(const float *x, float *y, uint32_t n);\n"
        "void table(const float *x, float *y, uint32_t n)\n"
        f"{{\n    for (uint32_t i = 0; i < n; i++)\n        y[i] = mct_{name}(x[i]);\n}}\n"
    )
    library = ctypes.CDLL(str(compile_source(source, "f32")))
    x = samples(seed=3)
    got = np.empty_like(x)
    pointer = ctypes.POINTER(ctypes.c_float)
    library.table(x.ctypes.data_as(pointer), got.ctypes.data_as(pointer), ctypes.c_uint32(len(x)))
    want = getattr(f32, name)(x)
    # the sign and payload of NaN are the machine's
    number = ~np.isnan(want)
    assert np.array_equal(np.isnan(got), ~number)
    assert np.array_equal(got.view(np.uint32)[number], want.view(np.uint32)[number])
