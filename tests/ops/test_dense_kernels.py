"""Matrix products: kernels against the reference bit for bit, and the reference against float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from convolution import cancelling
from kernel_harness import check_kernel
from numeric_gradient import check_gradient

from mcutrain.executor import same_bits

DTYPES = ("f4", "f2")
REMAINDERS = range(1, 10)


def normal(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", REMAINDERS)
def test_every_remainder(rows: int, dtype: str) -> None:
    """Rows, columns and depth of every remainder modulo 8, forward and weight gradient."""
    rng = np.random.default_rng(rows)
    for columns, depth in itertools.product(REMAINDERS, REMAINDERS):
        x, w = normal(rng, rows, depth, dtype=dtype), normal(rng, columns, depth, dtype=dtype)
        check_kernel("Dense", [x, w, normal(rng, columns)], {"activation": "relu"})
        dy = normal(rng, rows, columns, dtype=dtype)
        check_kernel("DenseWeightGradient", [x, dy, normal(rng, columns, depth)], inplace={0: 2})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "columns"), [(17, 16), (18, 17), (20, 144), (25, 144), (27, 18), (1, 144), (64, 33)]
)
def test_sizes_that_broke_other_libraries(rows: int, columns: int, dtype: str) -> None:
    """rivals.md, defect 2: work blocks not aligned to the unroll write past the end."""
    rng = np.random.default_rng(rows)
    depth = 37
    x, w = normal(rng, rows, depth, dtype=dtype), normal(rng, columns, depth, dtype=dtype)
    workers = range(1, 9)
    check_kernel(
        "Dense", [x, w, normal(rng, columns)], {"activation": "clip", "lo": -1.0, "hi": 1.0}, workers=workers
    )
    dy = normal(rng, rows, columns, dtype=dtype)
    check_kernel("DenseWeightGradient", [x, dy, normal(rng, columns, depth)], inplace={0: 2}, workers=workers)
    check_kernel("BiasGradient", [dy, normal(rng, columns)], inplace={0: 1}, workers=workers)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", REMAINDERS)
def test_every_input_gradient(rows: int, dtype: str) -> None:
    """On w as it is: the bits of the product with its transpose, whatever the remainders."""
    rng = np.random.default_rng(rows)
    for depth, columns in itertools.product(REMAINDERS, REMAINDERS):
        dy, w = normal(rng, rows, depth, dtype=dtype), normal(rng, depth, columns, dtype=dtype)
        (dx,) = check_kernel("DenseInputGradient", [dy, w])
        (expected,) = check_kernel("Dense", [dy, np.ascontiguousarray(w.T)], workers=(1,))
        assert same_bits(dx, expected)
    w = normal(rng, 8, 1, 1, 5, dtype=dtype)
    check_kernel("DenseInputGradient", [normal(rng, 2, rows, 3, 8, dtype=dtype), w])
    w = normal(rng, 2, 3, 6, 8, dtype=dtype)
    check_kernel("DenseInputGradient", [normal(rng, 2, 3, rows, 6, dtype=dtype), w])


@pytest.mark.parametrize("dtype", DTYPES)
def test_batched(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w = normal(rng, 2, 3, 5, 7, dtype=dtype), normal(rng, 2, 3, 6, 7, dtype=dtype)
    (y,) = check_kernel("Dense", [x, w])
    np.testing.assert_allclose(y, x.astype("f8") @ w.astype("f8").swapaxes(-1, -2), rtol=2e-2, atol=2e-2)
    dy = normal(rng, 2, 3, 5, 6, dtype=dtype)
    check_kernel("DenseWeightGradient", [x, dy, normal(rng, 2, 3, 6, 7)], inplace={0: 2})
    check_kernel("Dense", [x, normal(rng, 4, 7, dtype=dtype), normal(rng, 4)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [*REMAINDERS, 100])
def test_bias_gradient(rows: int, dtype: str) -> None:
    rng = np.random.default_rng(rows)
    for channels in (*REMAINDERS, 40):
        dy, acc = normal(rng, rows, channels, dtype=dtype), normal(rng, channels)
        (total,) = check_kernel("BiasGradient", [dy, acc], inplace={0: 1})
        np.testing.assert_allclose(total, acc + dy.astype("f8").sum(axis=0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("depth", range(32, 41))
def test_order_and_pairs_of_the_reduction(depth: int) -> None:
    """Operands that cancel: the results are rounding errors, which another order would change."""
    rng = np.random.default_rng(depth)
    w = cancelling(rng, 7, depth)
    (y,) = check_kernel("Dense", [np.full((6, depth), np.float16(1.234)), w])
    assert 0 < np.abs(y).max() < 1


def test_close_to_float64() -> None:
    rng = np.random.default_rng(1)
    for rows, columns, depth in ((5, 7, 300), (1, 10, 64)):
        x, w, b = normal(rng, rows, depth), normal(rng, columns, depth), normal(rng, columns)
        (y,) = check_kernel("Dense", [x, w, b])
        np.testing.assert_allclose(y, x.astype("f8") @ w.astype("f8").T + b, rtol=1e-5, atol=1e-4)
        dy = normal(rng, rows, columns)
        (acc,) = check_kernel("DenseWeightGradient", [x, dy, w], inplace={0: 2})
        np.testing.assert_allclose(acc, w + dy.astype("f8").T @ x, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("activation", ["none", "relu", "clip"])
def test_gradients(activation: str) -> None:
    rng = np.random.default_rng(2)
    x, w, b = normal(rng, 3, 5), normal(rng, 4, 5), normal(rng, 4)
    functions = {"none": lambda y: y, "relu": lambda y: np.maximum(y, 0), "clip": lambda y: np.clip(y, -1, 1)}
    check_gradient(
        "Dense",
        [x, w, b],
        lambda x, w, b: functions[activation](x @ w.T + b),
        {"activation": activation, "lo": -1.0, "hi": 1.0},
    )


def test_overflow_and_nan_pass_through_like_the_reference() -> None:
    """A diverging step must be seen: infinities and NaN reach the accumulators with the reference's bits."""
    x = np.array([[60000, 60000, -np.inf, 1], [np.nan, 1, 1, 1], [1, 2, 3, 4]], "f2")
    w = np.array([[2, 2, 0, 1], [1, 1, 1, 1], [np.inf, 1, np.inf, 1]], "f2")
    for activation in ("none", "relu", "clip"):
        check_kernel("Dense", [x, w], {"activation": activation, "lo": 0.0, "hi": 6.0}, allow_nan=True)
    check_kernel("DenseWeightGradient", [x, w, np.zeros((4, 4), "f4")], inplace={0: 2}, allow_nan=True)
    check_kernel("Dense", [x.astype("f4"), w.astype("f4")], allow_nan=True)
