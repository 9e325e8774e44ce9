"""Attention maps and the gradient of their difference."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close

SHAPES = [(1, 1), (1, 18), (3, 7), (1, 1, 1, 4), (2, 3, 5, 2), (1, 7, 9, 17)]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def maps(x: np.ndarray) -> np.ndarray:
    energy = (x**2).reshape(len(x), -1, x.shape[-1] if x.ndim > 2 else 1).sum(2)
    return np.asarray(energy / np.linalg.norm(energy, axis=1, keepdims=True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_the_loss(shape: tuple[int, ...], dtype: type) -> None:
    x, other = normal(1, *shape).astype(dtype), normal(2, *shape).astype(dtype)
    (energy,) = check_kernel("AttentionEnergy", [x])
    (reference,) = check_kernel("AttentionEnergy", [other])
    switch, scale = np.float32([0, 1, 0, 0, 1, 50, 0, 0]), np.float32([16])
    loss, denergy = check_kernel("AttentionError", [energy, reference, switch, scale])
    (dx,) = check_kernel("AttentionGradient", [x, denergy])

    wanted = maps(other.astype(np.float64))

    def exact(v: np.ndarray) -> float:
        return float(((maps(v) - wanted) ** 2).mean())

    assert abs(loss[0] - exact(x.astype(np.float64))) < 1e-6
    numeric = np.zeros(shape)
    for at in np.ndindex(shape):
        above, below = x.astype(np.float64), x.astype(np.float64)
        above[at] += 1e-5
        below[at] -= 1e-5
        numeric[at] = (exact(above) - exact(below)) / 2e-5
    if energy.shape[1] > 1:
        assert_close(dx, 50 * 16 * numeric, 2e-3 if dtype is np.float16 else 1e-4)
    else:
        assert np.abs(dx).max() < 1e-3


def test_silent_layers_have_a_map_of_zeros() -> None:
    zero, one = np.zeros((1, 5), np.float32), np.ones((1, 5), np.float32)
    rest = [np.float32([0, 1, 0, 0, 1, 50, 0, 0]), np.float32([16])]
    loss, gradient = check_kernel("AttentionError", [zero, one, *rest])
    assert abs(loss[0] - 0.2) < 1e-6
    assert not gradient.any()
    loss, gradient = check_kernel("AttentionError", [one, zero, *rest])
    assert abs(loss[0] - 0.2) < 1e-6
    loss, gradient = check_kernel(
        "AttentionError", [np.float32([[np.inf, 1]]), one[:, :2], *rest], allow_nan=True
    )
    assert np.isnan(loss[0])
