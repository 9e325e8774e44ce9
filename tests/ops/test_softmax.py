"""Softmax and its logarithm on every axis, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close, check_gradient

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]
CASES = [((1,), 0), ((10,), -1), ((3, 12), 1), ((3, 12), 0), ((2, 5, 3), 1), ((9, 1), -1), ((2, 3, 2, 7), -2)]


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


FORMULAS = {"Softmax": softmax, "LogSoftmax": lambda x, axis: np.log(softmax(x, axis))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", FORMULAS)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_kernels_equal_compute(op: str, shape: tuple[int, ...], axis: int, dtype: type) -> None:
    rng = np.random.default_rng(len(shape))
    x = (rng.standard_normal(shape) * 3).astype(dtype)
    (y,) = check_kernel(op, [x], {"axis": axis})
    assert_close(y, FORMULAS[op](x.astype(np.float64), axis), 1e-3 if dtype is np.float16 else 1e-6)
    check_kernel(f"{op}Gradient", [y, rng.standard_normal(shape).astype(dtype)], {"axis": axis})


@pytest.mark.parametrize("op", FORMULAS)
@pytest.mark.parametrize(("shape", "axis"), [case for case in CASES if case[0][case[1]] > 1])
def test_gradient(op: str, shape: tuple[int, ...], axis: int) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    check_gradient(op, [x], lambda v: FORMULAS[op](v, axis), {"axis": axis})


def test_large_scores_do_not_overflow() -> None:
    x = np.float16([60000, 59000, -60000])
    (y,) = check_kernel("Softmax", [x])
    assert y.tolist() == [1, 0, 0]
    x = np.float32([3e38, 1e38])
    (y,) = check_kernel("LogSoftmax", [x])
    assert y[0] == 0


@pytest.mark.parametrize("op", FORMULAS)
@pytest.mark.parametrize("position", [0, 1, 3])
def test_nan_spreads_over_the_row(op: str, position: int) -> None:
    x = np.zeros((2, 4), np.float32)
    x[0, position] = np.nan
    (y,) = check_kernel(op, [x], allow_nan=True)
    assert np.isnan(y[0]).all()
    assert not np.isnan(y[1]).any()


def test_axis_out_of_range_is_refused() -> None:
    with pytest.raises(GraphError, match=r"head.*axis 2"):
        op_for("Softmax").infer(
            Node("Softmax", ("x",), ("y",), {"axis": 2}, "head"), [Tensor("x", (2, 3), "f32")]
        )
