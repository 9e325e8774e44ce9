"""Activations and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close, check_gradient

from mcutrain.errors import UnsupportedError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]
CASES: list[tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = [
    ("Relu", {}, lambda x: np.maximum(x, 0)),
    ("Clip", {"lo": 0.0, "hi": 6.0}, lambda x: np.clip(x, 0, 6)),
    ("Clip", {"lo": -0.1, "hi": 0.7}, lambda x: np.clip(x, -0.1, 0.7)),
    ("Clip", {"lo": None, "hi": 1.5}, lambda x: np.minimum(x, 1.5)),
    ("LeakyRelu", {"alpha": 0.1}, lambda x: np.where(x < 0, 0.1 * x, x)),
    ("LeakyRelu", {"alpha": 0.0}, lambda x: np.maximum(x, 0)),
    ("Sigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
    ("Tanh", {}, np.tanh),
    ("Negate", {}, np.negative),
]


def values(count: int, dtype: type) -> np.ndarray:
    x = np.random.default_rng(count).standard_normal(count) * 4
    x[:3] = [0.0, -0.0, 6.0][:count]
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("op", "attrs", "formula"), CASES)
def test_kernel_equals_compute(
    op: str, attrs: dict[str, Any], formula: Callable[[np.ndarray], np.ndarray], dtype: type
) -> None:
    for count in (1, 2, 7, 8, 9, 31, 64, 515):
        x = values(count, dtype)
        (y,) = check_kernel(op, [x], attrs)
        assert_close(y, formula(x.astype(np.float64)), 1e-3 if dtype is np.float16 else 4e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("op", "attrs", "formula"), [case for case in CASES if case[0] != "Negate"])
def test_gradient_kernel_equals_compute(
    op: str, attrs: dict[str, Any], formula: Callable[[np.ndarray], np.ndarray], dtype: type
) -> None:
    kind = {"LeakyRelu": "leaky_relu"}.get(op, op.lower())
    for count in (1, 2, 7, 8, 9, 31, 64, 515):
        y = formula(values(count, dtype).astype(np.float64)).astype(dtype)
        check_kernel(
            "ActivationGradient", [values(count + 1, dtype)[:count], y], {**attrs, "activation": kind}
        )


@pytest.mark.parametrize(("op", "attrs", "formula"), CASES)
def test_gradient(op: str, attrs: dict[str, Any], formula: Callable[[np.ndarray], np.ndarray]) -> None:
    # not at a kink, where the difference quotient is the mean of two slopes
    x = np.linspace(-2.93, 6.5, 48, dtype=np.float32).reshape(6, 8)
    check_gradient(op, [x], formula, attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Negate"])
def test_nan_and_infinities_are_not_hidden(op: str, dtype: type) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1], dtype)
    attrs = {"lo": 0.0, "hi": 6.0, "alpha": 0.1}
    (y,) = check_kernel(op, [x], attrs, allow_nan=True)
    assert np.isnan(y[0])
    assert not np.isnan(y[1:]).any()


@pytest.mark.parametrize("kind", ["relu", "clip", "leaky_relu", "sigmoid", "tanh"])
def test_gradient_shows_nan_of_the_forward_pass(kind: str) -> None:
    attrs = {"activation": kind, "lo": 0.0, "hi": 6.0, "alpha": 0.1}
    nan, one = np.float16([np.nan]), np.float16([1])
    (dx,) = check_kernel("ActivationGradient", [nan, one / 2], attrs, allow_nan=True)
    assert np.isnan(dx[0])
    (dx,) = check_kernel("ActivationGradient", [one, nan], attrs, allow_nan=True)
    # a step function passes dy on: the NaN in y reaches the loss by itself
    assert np.isnan(dx[0]) if kind in ("sigmoid", "tanh") else dx[0] == 1


def test_a_clipped_element_has_no_gradient_when_the_bound_is_not_representable() -> None:
    x = np.float16([0.05, 0.2])
    (y,) = check_kernel("Clip", [x], {"lo": 0.0, "hi": 0.1})
    attrs = {"activation": "clip", "lo": 0.0, "hi": 0.1}
    (dx,) = check_kernel("ActivationGradient", [np.float16([1, 1]), y], attrs)
    assert dx.tolist() == [1, 0]


def test_leaky_relu_with_a_negative_slope_has_no_gradient() -> None:
    types = [Tensor("dy", (2,), "f32"), Tensor("y", (2,), "f32")]
    node = Node(
        "ActivationGradient", ("dy", "y"), ("dx",), {"activation": "leaky_relu", "alpha": -1.0}, "act"
    )
    with pytest.raises(UnsupportedError, match=r"act.*-1\.0"):
        op_for("ActivationGradient").infer(node, types)
