"""Arithmetic with broadcasting: C against compute, compute against float64, gradients against differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import check_gradient

from mcutrain.errors import GraphError, UnsupportedError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}
DTYPES = [np.float16, np.float32]
SHAPES = [
    ((1,), (1,)),
    ((7,), (7,)),
    ((2, 3, 5), (2, 3, 5)),
    ((67,), (1,)),
    ((), (9,)),
    ((4, 6, 3), (3,)),
    ((3,), (4, 6, 3)),
    ((2, 5, 4, 8), (2, 1, 1, 8)),
    ((2, 1, 3), (1, 4, 1)),
    ((5, 1), (1, 5)),
    ((2, 1, 3, 1, 2, 1), (1, 2, 1, 3, 1, 2)),
    ((1, 2, 1, 3, 1, 1, 2), (2, 1, 1, 3, 1)),
]


def values(seed: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape) * 3
    return np.asarray(np.where(np.abs(x) < 0.1, 0.5, x)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", FORMULAS)
def test_kernel_equals_compute(op: str, dtype: type) -> None:
    for a_shape, b_shape in SHAPES:
        a, b = values(1, a_shape, dtype), values(2, b_shape, dtype)
        (y,) = check_kernel(op, [a, b])
        # one rounding of the exact result
        want = FORMULAS[op](a.astype(np.float64), b.astype(np.float64)).astype(dtype)
        assert np.array_equal(y, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_remainder_of_the_count(dtype: type) -> None:
    for count in range(1, 80):
        check_kernel("Add", [values(count, (count,), dtype), values(count + 1, (count,), dtype)])


@pytest.mark.parametrize("op", FORMULAS)
def test_overflow_and_invalid_results_show(op: str) -> None:
    a = np.float16([65504, 65504, -65504, np.inf, 0, 1, np.nan])
    b = np.float16([65504, -65504, 65504, np.inf, 0, 0, 1])
    (y,) = check_kernel(op, [a, b], allow_nan=True)
    with np.errstate(all="ignore"):
        assert np.array_equal(y, FORMULAS[op](a, b), equal_nan=True)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3))])
@pytest.mark.parametrize("op", FORMULAS)
def test_gradient(op: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    inputs = [values(i, shape, np.float32) for i, shape in enumerate(shapes)]
    inputs[1] = np.asarray(np.abs(inputs[1]) + np.float32(1))
    check_gradient(op, inputs, FORMULAS[op])


def test_an_operand_used_twice_gets_both_gradients() -> None:
    x = values(3, (5,), np.float32)
    check_gradient("Add", [x, x], np.add)
    check_gradient("Mul", [x, x], np.multiply)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 7, 8, 65])
def test_accumulate(dtype: type, count: int) -> None:
    acc, value = values(1, (count,), np.float32), values(2, (count,), dtype)
    (total,) = check_kernel("Accumulate", [acc, value], inplace={0: 0})
    assert np.array_equal(total, acc + value.astype(np.float32))


def test_accumulate_shows_infinities() -> None:
    acc, value = np.float32([np.inf, 1]), np.float16([-np.inf, np.inf])
    (total,) = check_kernel("Accumulate", [acc, value], inplace={0: 0}, allow_nan=True)
    assert np.array_equal(total, np.float32([np.nan, np.inf]), equal_nan=True)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(GraphError, match=r"'sum'.*\[2, 3\].*\[2\]"):
        op_for("Add").infer(
            Node("Add", ("a", "b"), ("y",), name="sum"),
            [Tensor("a", (2, 3), "f32"), Tensor("b", (2,), "f32")],
        )


def test_operands_of_two_types_are_refused() -> None:
    with pytest.raises(GraphError, match="f32 and f16"):
        op_for("Mul").infer(
            Node("Mul", ("a", "b"), ("y",)), [Tensor("a", (2,), "f32"), Tensor("b", (2,), "f16")]
        )


def test_more_axes_than_the_kernel_walks_are_refused() -> None:
    a, b = Tensor("a", (2, 1) * 4, "f32"), Tensor("b", (1, 2) * 4, "f32")
    with pytest.raises(UnsupportedError, match="over 8 axes"):
        op_for("Add").kernel(Node("Add", ("a", "b"), ("y",)), [a, b], [Tensor("y", (2,) * 8, "f32")])
