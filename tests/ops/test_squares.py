"""Squares of gradients: every kernel that can add them, over shapes, remainders and chunks."""

from __future__ import annotations

import numpy as np
import pytest
from convolution import Case, shape_grid
from kernel_harness import check_kernel
from squared import ACCUMULATORS, bias, check_squares, dense, normal, relu_bias

DTYPES = ("f2", "f4")
GRID = shape_grid()
#: more pixels than a chunk, or than two; and a rest
LONG = [
    Case(batch=3, height=9, width=7, channels=5, outputs=18),
    Case(height=16, width=8, channels=3, outputs=33),
    Case(height=13, width=10, channels=4, outputs=4, group=3),
]
RELU = {"activation": "relu"}


def convolution(case: Case, dtype: str) -> list[np.ndarray]:
    """Operands of Conv2dWeightGradient."""
    rng = np.random.default_rng(len(str(case)))
    outputs = case.group * case.outputs
    x = normal(rng, case.batch, case.height, case.width, case.group * case.channels, dtype=dtype)
    dy = normal(rng, case.batch, *case.output, outputs, dtype=dtype)
    return [x, dy, np.abs(normal(rng, outputs, *case.kernel, case.channels))]


def depthwise(case: Case, dtype: str) -> list[np.ndarray]:
    """Operands of DepthwiseConv2dWeightGradient, on all channels of the case."""
    rng = np.random.default_rng(len(str(case)))
    channels = case.group * case.channels
    x = normal(rng, case.batch, case.height, case.width, channels, dtype=dtype)
    dy = normal(rng, case.batch, *case.output, channels, dtype=dtype)
    return [x, dy, np.abs(normal(rng, *case.kernel, channels))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*GRID[::2], *LONG], ids=str)
def test_convolution(case: Case, dtype: str) -> None:
    given = convolution(case, dtype)
    total = check_squares("Conv2dWeightGradient", given, case.attrs)
    assert (total >= given[2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case", [*[c for c in GRID if c.outputs in (1, 4) and c.kernel != (1, 1)][::2], *LONG], ids=str
)
def test_depthwise(case: Case, dtype: str) -> None:
    attrs = {k: v for k, v in case.attrs.items() if k != "group"}
    check_squares("DepthwiseConv2dWeightGradient", depthwise(case, dtype), attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 65])
def test_dense(rows: int, dtype: str) -> None:
    for columns in (1, 3, 4, 5, 9):
        for depth in (1, 4, 7, 31, 32, 33, 70):
            check_squares("DenseWeightGradient", dense(rows, columns, depth, dtype))
    check_squares("DenseWeightGradient", dense(rows, 6, 9, dtype, batch=(2, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 65])
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 33])
def test_bias(rows: int, channels: int, dtype: str) -> None:
    check_squares("BiasGradient", bias(rows, channels, dtype))
    check_squares("ReluBiasGradient", relu_bias(rows, channels, dtype), RELU)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_sum_is_squared(dtype: str) -> None:
    """Not its parts: two pixels of opposite signs leave nothing, two alike four times one's square."""
    x, dy = np.full((1, 70, 1, 4), 2, dtype), np.full((1, 70, 1, 4), 3, dtype)
    attrs = Case(kernel=(3, 1), pads=(1, 0, 1, 0)).attrs
    acc = np.ones((4, 3, 1, 4), np.float32)
    total = check_squares("Conv2dWeightGradient", [x, dy, acc], attrs)
    assert (total[:, 1] == 1 + 420**2).all()
    dy[:, ::2] *= -1
    total = check_squares("Conv2dWeightGradient", [x, dy, acc], attrs)
    assert (total[:, 1] == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_square_rounds_before_the_sum(dtype: str) -> None:
    """A fused step would give another result."""
    g = np.float32(1 + 2**-9)
    given = [np.ones((1, 1), dtype), np.full((1, 1), g).astype(dtype), np.float32([[-1]])]
    fine = [np.ones((1, 1), "f4"), np.full((1, 1), 1 + 2**-12, "f4"), np.float32([[-1]])]
    assert check_squares("DenseWeightGradient", given)[0, 0] == g * g - 1
    exact = (1 + 2**-12) ** 2 - 1
    assert check_squares("DenseWeightGradient", fine)[0, 0] == np.float32((1 + 2**-12) ** 2) - 1 != exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["x", "acc"])
def test_what_is_not_finite(where: str, dtype: str) -> None:
    """Infinite and undefined elements on either side, and squares beyond binary32."""
    for bad in (np.inf, -np.inf, np.nan):
        for op, given in (
            ("Conv2dWeightGradient", convolution(LONG[0], dtype)),
            ("DepthwiseConv2dWeightGradient", depthwise(LONG[0], dtype)),
            ("DenseWeightGradient", dense(9, 5, 33, dtype)),
            ("BiasGradient", bias(9, 5, dtype)),
            ("ReluBiasGradient", relu_bias(9, 5, dtype)),
        ):
            attrs = {
                k: v for k, v in LONG[0].attrs.items() if "Conv" in op and (k != "group" or op[0] == "C")
            }
            acc = ACCUMULATORS[op][0]
            given[0 if where == "x" else acc].reshape(-1)[2] = bad
            total = check_squares(op, given, attrs | (RELU if op[0] == "R" else {}), allow_nan=True)
            assert not np.isfinite(total).all() or (where == "x" and op == "ReluBiasGradient")
    tiny = [np.full((1, 5), 2.0**-60, "f4"), np.full((1, 3), 2.0**-10, "f4"), np.zeros((3, 5), "f4")]
    assert (check_squares("DenseWeightGradient", tiny) == np.float32(2.0**-140)).all()
    huge = [np.full((1, 5), 1e30, "f4"), np.ones((1, 3), "f4"), np.ones((3, 5), "f4")]
    assert np.isposinf(check_squares("DenseWeightGradient", huge)).all()


def test_squares_are_asked_for() -> None:
    """Without the attribute the gradient itself is added."""
    given = dense(3, 4, 8)
    (plain,) = check_kernel("DenseWeightGradient", given, {"squares": False}, inplace={0: 2})
    (same,) = check_kernel("DenseWeightGradient", given, inplace={0: 2})
    np.testing.assert_array_equal(plain, same)
    assert (plain != check_squares("DenseWeightGradient", given)).all()
