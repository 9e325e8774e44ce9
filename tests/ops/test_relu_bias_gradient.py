"""The gradients of a ReLU and a bias in one pass."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel

RELU = {"activation": "relu"}
SHAPES = [(1, 1), (3, 5), (8, 2), (9, 16), (125, 64), (64, 33), (300, 18), (131, 128)]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_as_one_after_the_other(shape: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(shape[0])
    dy, y = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    y = np.maximum(y, 0)
    acc = rng.normal(size=shape[1]).astype("f4")
    dx, total = check_kernel("ReluBiasGradient", [dy, y, acc], RELU, inplace={1: 2})
    (expected,) = check_kernel("ActivationGradient", [dy, y], RELU)
    np.testing.assert_array_equal(dx, expected)
    (summed,) = check_kernel("BiasGradient", [dx, acc], inplace={0: 1})
    np.testing.assert_array_equal(total, summed)


def test_infinities_and_nan() -> None:
    dy = np.array([[np.inf, 1, np.nan, -1]] * 9, "f2")
    y = np.array([[1, np.nan, 1, 0]] * 9, "f2")
    check_kernel("ReluBiasGradient", [dy, y, np.zeros(4, "f4")], RELU, inplace={1: 2}, allow_nan=True)
