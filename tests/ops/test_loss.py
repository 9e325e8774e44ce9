"""Losses and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]


def cross_entropy(x: np.ndarray, label: np.ndarray) -> float:
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(x)), label].mean())


def differences(function: object, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a scalar function of a float64 array."""
    gradient = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[at] += step
        below[at] -= step
        gradient[at] = (function(above) - function(below)) / (2 * step)  # type: ignore[operator]
    return gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 2), (1, 10), (1, 12), (3, 7), (9, 33)])
def test_cross_entropy(rows: int, classes: int, dtype: type) -> None:
    rng = np.random.default_rng(classes)
    x = (rng.standard_normal((rows, classes)) * 3).astype(dtype)
    label = rng.integers(0, classes, rows).astype(np.int32)
    scale = np.float32([256])
    loss, dx = check_kernel("CrossEntropy", [x, label, scale])
    exact = x.astype(np.float64)
    tolerance = 2e-3 if dtype is np.float16 else 1e-5
    assert abs(loss[0] - cross_entropy(exact, label)) <= 1e-5
    if classes > 1:
        assert_close(dx, 256 * differences(lambda v: cross_entropy(v, label), exact), tolerance)
    else:
        assert dx.tolist() == [[0]]
    (alone,) = check_kernel("CrossEntropyLoss", [x, label])
    assert np.array_equal(alone, loss)


def test_the_true_class_keeps_its_gradient_when_it_is_certain() -> None:
    x = np.float32([[20, 0, 0]])
    _, dx = check_kernel("CrossEntropy", [x, np.int32([0]), np.float32([1])])
    want = -2 * np.exp(-20.0) / (1 + 2 * np.exp(-20.0))
    assert abs(dx[0, 0] / want - 1) < 1e-6


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
def test_a_label_out_of_range_contributes_nothing(label: int) -> None:
    x = np.float32([[1, 2, 3], [3, 1, 2]])
    loss, dx = check_kernel("CrossEntropy", [x, np.int32([label, 1]), np.float32([1])])
    assert dx[0].tolist() == [0, 0, 0]
    assert abs(loss[0] - cross_entropy(x[1:].astype(np.float64), np.int32([1])) / 2) < 1e-6


def test_nan_and_overflow_show() -> None:
    loss, dx = check_kernel(
        "CrossEntropy", [np.float32([[np.nan, 1]]), np.int32([1]), np.float32([1])], allow_nan=True
    )
    assert np.isnan(loss).all()
    assert np.isnan(dx).all()
    _, dx = check_kernel("CrossEntropy", [np.float16([[5, 0]]), np.int32([1]), np.float32([1e6])])
    assert np.isinf(dx).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (3, 7), (2, 3, 5, 2)])
def test_mean_squared_error(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(len(shape))
    x, target = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(np.float32)
    loss, dx = check_kernel("MeanSquaredError", [x, target, np.float32([128])])
    exact = x.astype(np.float64)
    assert_close(loss, np.array([((exact - target) ** 2).mean()]), 1e-5)
    want = 128 * 2 * (exact - target) / exact.size
    assert_close(dx, want, 1e-3 if dtype is np.float16 else 1e-6)
    if exact.size < 100:
        numeric = 128 * differences(lambda v: float(((v - target) ** 2).mean()), exact)
        assert_close(dx, numeric, 2e-3 if dtype is np.float16 else 1e-5)
    (alone,) = check_kernel("MeanSquaredErrorLoss", [x, target])
    assert np.array_equal(alone, loss)


def test_wrong_targets_are_refused() -> None:
    x, label = Tensor("x", (2, 3), "f32"), Tensor("label", (3,), "i32")
    with pytest.raises(GraphError, match=r"labels i32\[3\]"):
        op_for("CrossEntropyLoss").infer(Node("CrossEntropyLoss", ("x", "label"), ("loss",)), [x, label])
    with pytest.raises(GraphError, match=r"target i32\[3\]"):
        op_for("MeanSquaredErrorLoss").infer(
            Node("MeanSquaredErrorLoss", ("x", "label"), ("loss",)), [x, label]
        )
