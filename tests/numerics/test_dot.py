"""The dot product rules of numerics.md, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mcutrain.numerics import activate, canonical, dot, dot_nt, dot_tn, narrow
from mcutrain.numerics.dot import fused_multiply_add


def exact_round(value: Fraction) -> np.float32:
    """An exact number rounded once to f32, ties to even."""
    if value == 0:
        return np.float32(0)
    exponent = max(value.numerator.bit_length() - value.denominator.bit_length() - 24, -149 - 1)
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    exponent = max(exponent, -149)
    scaled = value / Fraction(2) ** exponent
    return np.float32(round(scaled) * 2.0**exponent)  # round() of a Fraction ties to even


def exact_fma(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    return exact_round(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


@pytest.mark.parametrize("kind", ["ordinary", "wide", "few bits", "tiny"])
def test_fused_multiply_add_rounds_once(kind: str) -> None:
    rng = np.random.default_rng(6)
    a, b, c = (rng.standard_normal(4000).astype("f4") for _ in range(3))
    if kind == "wide":
        c *= np.exp2(rng.integers(-40, 40, 4000)).astype("f4")
    elif kind == "few bits":
        a, b, c = (rng.integers(-(2**k), 2**k, 4000).astype("f4") for k in (8, 17, 24))
    elif kind == "tiny":
        a, b, c = a * np.float32(1e-20), b * np.float32(1e-20), c * np.float32(1e-39)
    got = fused_multiply_add(a, b, c)
    want = np.array([exact_fma(*abc) for abc in zip(a, b, c, strict=True)])
    np.testing.assert_array_equal(got, want)


def test_where_a_float64_sum_would_round_twice() -> None:
    """2^24 + 1 lies half way between two f32; a tiny addend decides, and float64 cannot hold it."""
    for sign in (1, -1):
        a, b, c = np.float32(2**12 + 1), np.float32(2**12 - 1), np.float32(2)
        product = np.float32(4097 * 4095)  # 2^24 - 1
        assert product == 2**24 - 1
        a, b, c = (
            np.float32(sign * 97),
            np.float32(172961),
            np.float32(sign * 2.0**-40),
        )  # 97 * 172961 = 2^24 + 1
        assert 97 * 172961 == 2**24 + 1
        got = fused_multiply_add(a, b, c)
        assert got == exact_fma(a, b, c) == np.float32(sign * (2**24 + 2))
        assert np.float32(np.float64(a) * b + np.float64(c)) == np.float32(sign * 2**24)


def test_sequential_order() -> None:
    rng = np.random.default_rng(7)
    x, w, acc = (rng.standard_normal(s).astype("f4") for s in ((2, 9), (3, 9), (2, 3)))
    got = dot_nt(x, w, acc)
    for m, n in np.ndindex(2, 3):
        total = acc[m, n]
        for k in range(9):
            total = exact_fma(x[m, k], w[n, k], total)
        assert got[m, n] == total


@pytest.mark.parametrize("depth", range(1, 8))
def test_pairs(depth: int) -> None:
    """acc = f32(acc + f32(a0*b0 + a1*b1)), an odd end paired with zero."""
    rng = np.random.default_rng(depth)
    x, w, acc = (
        rng.standard_normal((2, depth)),
        rng.standard_normal((3, depth)),
        rng.standard_normal((2, 3)).astype("f4"),
    )
    x, w = x.astype("f2"), w.astype("f2")
    got = dot_nt(x, w, acc)
    for m, n in np.ndindex(2, 3):
        total = acc[m, n]
        for k in range(0, depth, 2):
            pair = sum(
                Fraction(float(x[m, i])) * Fraction(float(w[n, i])) for i in range(k, min(k + 2, depth))
            )
            total = exact_round(Fraction(float(total)) + Fraction(float(exact_round(pair))))
        assert got[m, n] == total


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_forms_agree(dtype: str) -> None:
    rng = np.random.default_rng(8)
    x, w = rng.standard_normal((11, 7)).astype(dtype), rng.standard_normal((5, 7)).astype(dtype)
    want = dot_nt(x, w)
    np.testing.assert_array_equal(dot_nt(w, x).T, want)
    np.testing.assert_array_equal(dot_tn(np.ascontiguousarray(x.T), np.ascontiguousarray(w.T)), want)
    np.testing.assert_array_equal(dot(x.T[:, :, None], w.T[:, None, :]), want)
    np.testing.assert_array_equal(dot_nt(x[:, 4:], w[:, 4:], dot_nt(x[:, :4], w[:, :4])), want)
    assert dot_nt(x[:, :0], w[:, :0]).tolist() == np.zeros((11, 5)).tolist()


def test_refuses_what_has_no_rule() -> None:
    with pytest.raises(ValueError, match="f16 or f32"):
        dot(np.zeros((2, 2), "f4"), np.zeros((2, 2), "f2"))
    with pytest.raises(ValueError, match="depth"):
        dot(np.zeros((2, 2), "f4"), np.zeros((3, 2), "f4"))


def test_narrow_rounds_to_even_and_keeps_one_nan() -> None:
    x = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 65520, 2.0**-25, -(2.0**-24)], "f4")
    assert narrow(x, np.float16).tolist() == [1, 1 + 2.0**-9, np.inf, 0, -(2.0**-24)]
    odd_nans = np.array([0xFFC00001, 0x7F800001, 0x3F800000], "u4").view("f4")
    assert canonical(odd_nans).view("u4").tolist() == [0x7FC00000, 0x7FC00000, 0x3F800000]
    assert narrow(odd_nans, np.float16).view("u2").tolist() == [0x7E00, 0x7E00, 0x3C00]


def test_activate() -> None:
    x = np.array([-2, -0.0, 0.5, 7, np.nan], "f4")
    assert activate(x, "relu", 0, 0)[:4].tolist() == [0, 0, 0.5, 7]
    assert activate(x, "clip", -1, 6)[:4].tolist() == [-1, 0, 0.5, 6]
    assert np.isnan(activate(x, "relu", 0, 0)[4])
    assert np.isnan(activate(x, "clip", -1, 6)[4])
    assert activate(x, "none", 0, 0) is x
