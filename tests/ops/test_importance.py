"""Importance of parameters: squares of gradients and what dampening makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel


def normal(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_add_squares(count: int) -> None:
    acc, g = np.abs(normal(1, count)), normal(2, count) * np.float32(1e-3)
    (total,) = check_kernel("AddSquares", [acc, g], inplace={0: 0})
    np.testing.assert_allclose(total, acc + g.astype(np.float64) ** 2, rtol=1e-6)


def test_squares_are_not_lost_as_they_would_be_in_fp16() -> None:
    g = np.float32([1e-6, 3e-10, 60000, np.inf, np.nan])
    (total,) = check_kernel("AddSquares", [np.zeros(5, np.float32), g], inplace={0: 0}, allow_nan=True)
    np.testing.assert_array_equal(total, g * g)
    assert 0 < total[1] < 1e-18


def test_the_square_rounds_before_the_sum() -> None:
    """A fused step would give another result."""
    acc, g = np.float32([-1]), np.float32([1 + 2**-12])
    (total,) = check_kernel("AddSquares", [acc, g], inplace={0: 0})
    assert total[0] == np.float32(g[0] * g[0]) - 1
    assert total[0] != float(g[0]) ** 2 - 1
