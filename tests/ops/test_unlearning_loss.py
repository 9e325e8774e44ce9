"""Losses chosen at run time: the bits, and the gradient of the loss that is reported."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]
BETA, LOG_P0, TEMPERATURE = 0.5, -0.7, 2.0
MODES = range(7)


def switch(mode: float, weight: float = 1.0) -> np.ndarray:
    return np.float32([mode, weight, BETA, LOG_P0, TEMPERATURE, 0, 0, 0])


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss(mode: int, z: np.ndarray, label: np.ndarray, reference: np.ndarray) -> float:
    """The mode's loss, written down again in float64 from its definition."""
    row, p = np.arange(len(z)), softmax(z)
    log_y = np.log(p[row, label])
    if mode in (0, 1):
        return float((-1) ** (mode + 1) * log_y.mean())
    if mode == 2:
        return float((2 / BETA * np.log1p(np.exp(BETA * (log_y - LOG_P0)))).mean())
    if mode == 3:
        others = p.copy()
        others[row, label] = 0
        return float((1 + p[row, label] - others.max(axis=1)).mean())
    if mode == 4:
        return float(-np.log(p).mean())
    if mode == 5:
        q = softmax(reference / TEMPERATURE)
        return float(TEMPERATURE**2 * (q * np.log(q / softmax(z / TEMPERATURE))).sum(axis=1).mean())
    return float(-(reference * np.log(p)).sum(axis=1).mean())


def differences(function: object, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    gradient = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[at] += step
        below[at] -= step
        gradient[at] = (function(above) - function(below)) / (2 * step)  # type: ignore[operator]
    return gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (1, 10), (3, 7), (9, 33)])
@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_that_of_the_loss(mode: int, rows: int, classes: int, dtype: type) -> None:
    rng = np.random.default_rng(classes + mode)
    # no two alike in a row, where the runner-up would jump
    x = rng.permuted(np.tile(np.linspace(-3, 4, classes), (rows, 1)), axis=1).astype(dtype)
    label = rng.integers(0, classes, rows).astype(np.int32)
    reference = rng.standard_normal((rows, classes)).astype(np.float32)
    if mode == 6:
        reference = softmax(reference).astype(np.float32)
    scale, weight = np.float32([256]), -0.75
    got, dx = check_kernel("UnlearningLoss", [x, label, reference, switch(mode, weight), scale])
    exact = x.astype(np.float64)
    assert abs(got[0] - loss(mode, exact, label, reference)) <= 2e-5 * max(1, abs(got[0]))
    want = 256 * weight * differences(lambda v: loss(mode, v, label, reference), exact)
    assert_close(dx, want, 2e-3 if dtype is np.float16 else 2e-5)
    assert np.abs(dx).max() > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 10), (9, 33)])
def test_mode_0_is_cross_entropy(rows: int, classes: int, dtype: type) -> None:
    rng = np.random.default_rng(classes)
    x = (rng.standard_normal((rows, classes)) * 3).astype(dtype)
    label, scale = rng.integers(0, classes, rows).astype(np.int32), np.float32([1024])
    ours = check_kernel("UnlearningLoss", [x, label, np.zeros(x.shape, np.float32), switch(0), scale])
    for mine, plain in zip(ours, check_kernel("CrossEntropy", [x, label, scale]), strict=True):
        assert np.array_equal(mine, plain)


@pytest.mark.parametrize("mode", MODES)
def test_one_class_has_nothing_to_learn(mode: int) -> None:
    reference = np.ones((2, 1), np.float32)
    _, dx = check_kernel(
        "UnlearningLoss",
        [np.float32([[3], [-1]]), np.int32([0, 0]), reference, switch(mode), np.float32([8])],
    )
    assert not dx.any()


@pytest.mark.parametrize("mode", MODES)
def test_certain_rows(mode: int) -> None:
    """Scores far apart, and rows of equal scores, in which the first other class is the runner-up."""
    x = np.float32([[80, -80, 0], [-90, 90, 0], [1, 1, 1]])
    reference = np.float32([[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]])
    got, dx = check_kernel(
        "UnlearningLoss", [x, np.int32([0, 0, 1]), reference, switch(mode), np.float32([1])]
    )
    assert np.isfinite(got).all()
    if mode == 3:
        np.testing.assert_allclose(dx[2] * 3, [-1 / 3, 1 / 3, 0], atol=1e-6)


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("mode", MODES)
def test_a_label_out_of_range(mode: int, label: int) -> None:
    """Contributes nothing where labels are read, and does not matter elsewhere."""
    x, reference = np.float32([[1, 2, 3], [3, 1, 2]]), np.full((2, 3), 1 / 3, np.float32)
    rest = [reference, switch(mode), np.float32([1])]
    got, dx = check_kernel("UnlearningLoss", [x, np.int32([label, 1]), *rest])
    if mode < 4:
        assert dx[0].tolist() == [0, 0, 0]
        assert abs(2 * got[0] - loss(mode, x[1:].astype(np.float64), np.int32([1]), reference[1:])) < 1e-5
    else:
        assert np.array_equal(dx, check_kernel("UnlearningLoss", [x, np.int32([0, 1]), *rest])[1])


@pytest.mark.parametrize("mode", [-1, 0.5, 7, np.nan])
def test_an_unknown_mode_shows_and_changes_nothing(mode: float) -> None:
    x, label = np.float32([[1, 2], [0, 1]]), np.int32([0, 1])
    got, dx = check_kernel("UnlearningLoss", [x, label, x, switch(mode), np.float32([1])], allow_nan=True)
    assert np.isnan(got).all()
    assert not dx.any()
    regression = -1.0 if mode == 7 else mode
    got, dx = check_kernel(
        "UnlearningRegressionLoss", [x, x + 1, switch(regression), np.float32([1])], allow_nan=True
    )
    assert np.isnan(got).all()
    assert not dx.any()


@pytest.mark.parametrize("mode", MODES)
def test_nan_and_infinity_show(mode: int) -> None:
    reference = np.float32([[0.25, 0.75]])
    for bad in (np.nan, np.inf):
        got, dx = check_kernel(
            "UnlearningLoss",
            [np.float32([[bad, 1]]), np.int32([1]), reference, switch(mode), np.float32([1])],
            allow_nan=True,
        )
        assert not np.isfinite(got).all() or not np.isfinite(dx).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (3, 7), (2, 3, 5, 2)])
@pytest.mark.parametrize("mode", [0, 7])
def test_regression(mode: int, shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(len(shape))
    x, target = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[-1] = target.reshape(-1)[-1] = 0.5
    got, dx = check_kernel("UnlearningRegressionLoss", [x, target, switch(mode, -0.5), np.float32([128])])
    apart = x.astype(np.float64) - target
    want = (apart**2).mean() if mode == 0 else np.abs(apart).mean()
    assert_close(got, np.array([want]), 1e-5)
    slope = 2 * apart if mode == 0 else np.sign(apart)
    assert_close(dx, -64 * slope / apart.size, 1e-3 if dtype is np.float16 else 1e-6)
    if mode == 0 and dtype is np.float32:
        plain = check_kernel("MeanSquaredError", [x, target, np.float32([128])])
        mine, _ = check_kernel("UnlearningRegressionLoss", [x, target, switch(0), np.float32([128])])
        assert np.array_equal(mine, plain[0])


def test_wrong_operands_are_refused() -> None:
    tensors = [
        Tensor("x", (2, 3), "f32"),
        Tensor("label", (2,), "i32"),
        Tensor("reference", (2, 4), "f32"),
        Tensor("switch", (8,), "f32"),
        Tensor("scale", (1,), "f32"),
    ]
    node = Node("UnlearningLoss", tuple(t.name for t in tensors), ("loss", "dx"))
    with pytest.raises(GraphError, match=r"reference scores \[2, 4\]"):
        op_for("UnlearningLoss").infer(node, list(tensors))
