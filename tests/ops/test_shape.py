"""Transposition, conversion, padding, broadcast and sums over axes: all move or add elements exactly."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close, check_gradient

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]


def values(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.asarray(np.random.default_rng(len(shape)).standard_normal(shape) * 100).astype(dtype)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int32])
@pytest.mark.parametrize("perm", list(itertools.permutations(range(4))))
def test_transpose_of_four_axes(perm: tuple[int, ...], dtype: type) -> None:
    x = values((3, 5, 2, 7), dtype)
    (y,) = check_kernel("Transpose", [x], {"perm": perm})
    assert np.array_equal(y, x.transpose(perm))


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((1,), (0,)),
        ((13, 17), (1, 0)),
        ((2, 3, 4, 3, 2, 3), (5, 3, 1, 0, 2, 4)),
        ((1, 2, 1, 3, 1, 2, 2), (6, 5, 4, 3, 2, 1, 0)),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("to", ["f16", "f32"])
def test_transpose_converts(shape: tuple[int, ...], perm: tuple[int, ...], dtype: type, to: str) -> None:
    x = values(shape, dtype)
    (y,) = check_kernel("Transpose", [x], {"perm": perm, "dtype": to})
    assert np.array_equal(y, x.transpose(perm).astype(to.replace("f", "float")))


def test_transpose_gradient() -> None:
    check_gradient(
        "Transpose", [values((2, 3, 4), np.float32)], lambda v: v.transpose(1, 2, 0), {"perm": (1, 2, 0)}
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("to", ["f16", "f32"])
def test_cast_of_every_count(dtype: type, to: str) -> None:
    for count in range(1, 70):
        x = values((count,), dtype)
        (y,) = check_kernel("Cast", [x], {"dtype": to})
        assert np.array_equal(y, x.astype(to.replace("f", "float")))


def test_cast_rounds_to_nearest_even_and_overflows_to_infinity() -> None:
    # halfway cases, the largest number, halfway to the next, subnormals, zeros
    x = np.float32(
        [2049, 2051, 65504, 65519.99, 65520, -1e6, 2**-24, 2**-25, 1.5 * 2**-25, 2**-14 * 0.9999, 0.0, -0.0]
    )
    (y,) = check_kernel("Cast", [x], {"dtype": "f16"})
    assert y.tolist()[:6] == [2048, 2052, 65504, 65504, np.inf, -np.inf]
    with np.errstate(over="ignore"):
        assert np.array_equal(y.view(np.uint16), x.astype(np.float16).view(np.uint16))
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    (wide,) = check_kernel("Cast", [every], {"dtype": "f32"}, allow_nan=True)
    (back,) = check_kernel("Cast", [wide], {"dtype": "f16"}, allow_nan=True)
    assert np.array_equal(back, every, equal_nan=True)


def test_cast_to_integers_is_refused() -> None:
    with pytest.raises(GraphError, match="no conversion from f32 to i32"):
        op_for("Cast").infer(Node("Cast", ("x",), ("y",), {"dtype": "i32"}), [Tensor("x", (2,), "f32")])


def test_reshape_is_a_view() -> None:
    x = Tensor("x", (2, 6), "f16")
    node = Node("Reshape", ("x",), ("y",), {"shape": (3, 4)}, "flat")
    assert op_for("Reshape").infer(node, [x]) == [((3, 4), "f16")]
    assert op_for("Reshape").kernel(node, [x], [Tensor("y", (3, 4), "f16")]) is None
    check_gradient("Reshape", [values((2, 6), np.float32)], lambda v: v.reshape(3, 4), {"shape": (3, 4)})
    with pytest.raises(GraphError, match=r"flat.*\[2, 6\].*\[5, 2\]"):
        op_for("Reshape").infer(node.with_attrs(shape=(5, 2)), [x])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "begin", "end"),
    [
        ((5,), (2,), (3,)),
        ((3, 4), (0, 1), (2, 0)),
        ((2, 5, 7, 3), (0, 1, 2, 0), (0, 3, 1, 0)),
        ((2, 5, 7, 3), (0, 0, 0, 2), (0, 0, 0, 1)),
        ((2, 5, 7, 3), (0, -1, -2, 0), (0, -2, 0, -1)),
        ((2, 5, 7, 3), (0, -1, 2, 0), (0, 3, -4, 1)),
        ((4, 6), (-4, 5), (6, -7)),
        ((1, 2, 1, 2, 1, 2), (1, 0, 1, 0, 0, 1), (0, 1, 0, 1, 1, 0)),
    ],
)
def test_pad(shape: tuple[int, ...], begin: tuple[int, ...], end: tuple[int, ...], dtype: type) -> None:
    x = values(shape, dtype)
    (y,) = check_kernel("Pad", [x], {"begin": begin, "end": end})
    want = np.zeros(y.shape, dtype)
    for at in np.ndindex(x.shape):
        to = tuple(i + b for i, b in zip(at, begin, strict=True))
        if all(0 <= i < d for i, d in zip(to, y.shape, strict=True)):
            want[to] = x[at]
    assert np.array_equal(y, want)


def test_pad_gradient() -> None:
    check_gradient(
        "Pad",
        [values((2, 3, 4), np.float32)],
        lambda v: np.pad(v[:, :, 1:], ((0, 0), (1, 2), (0, 3))),
        {"begin": (0, 1, -1), "end": (0, 2, 3)},
    )


def test_pads_that_leave_nothing_are_refused() -> None:
    node = Node("Pad", ("x",), ("y",), {"begin": (-2,), "end": (-2,)}, "crop")
    with pytest.raises(GraphError, match=r"crop.*leave nothing"):
        op_for("Pad").infer(node, [Tensor("x", (4,), "f32")])


SUMS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((7,), (1,)),
    ((7,), ()),
    ((5, 9), (9,)),
    ((5, 9), (5, 1)),
    ((5, 9), (5, 9)),
    ((2, 3, 4, 5), (5,)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((33, 17), (17,)),
    ((2, 3, 2, 3, 2, 3), (3, 1, 3, 1, 3)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "to"), SUMS)
def test_sum_and_broadcast(shape: tuple[int, ...], to: tuple[int, ...], dtype: type) -> None:
    x = (values(shape, dtype) / dtype(100)).astype(dtype)
    (y,) = check_kernel("ReduceSum", [x], {"shape": to})
    padded = (1,) * (len(shape) - len(to)) + to
    axes = tuple(i for i, (a, b) in enumerate(zip(padded, shape, strict=True)) if a != b)
    want = x.astype(np.float64).sum(axis=axes).reshape(to)
    assert_close(y, want, 2e-3 if dtype is np.float16 else 1e-5)
    check_kernel("ReduceSum", [x], {"shape": to, "dtype": "f32"})
    (wide,) = check_kernel("Expand", [y], {"shape": shape})
    assert np.array_equal(wide, np.broadcast_to(y, shape))


def test_sum_is_sequential_in_index_order() -> None:
    x = np.float32([[1e8, 1, -1e8, 1]])
    (y,) = check_kernel("ReduceSum", [x], {"shape": (1, 1)})
    assert y[0, 0] == 1
    (y,) = check_kernel("ReduceSum", [np.float32([-0.0, -0.0])], {"shape": (1,)})
    assert not np.signbit(y[0])


@pytest.mark.parametrize("op", ["ReduceSum", "Expand"])
def test_sum_and_broadcast_gradients(op: str) -> None:
    formula: dict[str, tuple[Any, dict[str, Any], tuple[int, ...]]] = {
        "ReduceSum": (lambda v: v.sum(axis=(0, 2)).reshape(3, 1), {"shape": (3, 1)}, (2, 3, 4)),
        "Expand": (lambda v: np.broadcast_to(v, (2, 3, 4)), {"shape": (2, 3, 4)}, (3, 1)),
    }
    function, attrs, shape = formula[op]
    check_gradient(op, [values(shape, np.float32)], function, attrs)
