"""Dense layers on one row that work on their FP32 weights directly."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel

ONE, NO, YES = np.float32([1]), np.int32([0]), np.int32([1])
HYPER = np.float32([0.1, 0, 0, 1])
SHAPES = [(1, 1), (2, 3), (7, 9), (8, 8), (9, 16), (12, 64), (33, 40), (128, 20)]
#: columns no multiple of the blocks that the workers walk over
OVERFLOWS = [(9, 20), (10, 20)]


def operands(columns: int, depth: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(columns * 1000 + depth)
    x, dy = rng.standard_normal((1, depth)).astype(dtype), rng.standard_normal((1, columns)).astype(dtype)
    return [x, dy, rng.standard_normal((columns, depth)).astype("f4"), rng.standard_normal(columns, "f4")]


@pytest.mark.parametrize(("columns", "depth"), SHAPES)
def test_forward_is_dense_on_rounded_weights(columns: int, depth: int) -> None:
    x, _, w, b = operands(columns, depth, "f2")
    for bias in (b, None):
        for activation in ("none", "relu", "clip"):
            attrs = {"activation": activation, "lo": -0.5, "hi": 0.5}
            (y,) = check_kernel("RoundedDense", [x, w, bias], attrs)
            (expected,) = check_kernel("Dense", [x, w.astype("f2"), bias], attrs)
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("dx", [False, True])
@pytest.mark.parametrize(("columns", "depth"), SHAPES)
def test_update(columns: int, depth: int, dx: bool, dtype: str) -> None:
    x, dy, w, b = operands(columns, depth, dtype)
    scale = np.float32([8])
    for bias, decay in ((b, 0.01), (None, 0.0), (b, 0.0)):
        hyper = np.float32([0.125, 0, decay, 1])
        count = 3 if bias is not None else 2
        inplace = {0: 2, 1: 3, 2: 6} if bias is not None else {0: 2, 1: 6}
        got = check_kernel(
            "DenseUpdate",
            [x, dy, w, bias, hyper, scale, NO],
            {"dx": dx},
            inplace=inplace,
            workers=range(1, 9),
        )
        keep, q = 1 - np.float64(hyper[0]) * hyper[2], hyper[0] / 8 * dy.ravel().astype("f8")
        np.testing.assert_allclose(got[0], keep * w - np.outer(q, x), rtol=1e-5, atol=1e-6)
        if bias is not None:
            np.testing.assert_allclose(got[1], keep * bias - q, rtol=1e-5, atol=1e-6)
        assert got[count - 1][0] == 0
        assert len(got) == count + dx
        if dx:  # from the weights as they were
            (expected,) = check_kernel("Dense", [dy, np.ascontiguousarray(w.astype(dtype).T)])
            np.testing.assert_array_equal(got[-1], expected)
            given = [np.maximum(x, 0), dy, w, bias, hyper, scale, NO]
            got = check_kernel("DenseUpdate", given, {"dx": True, "relu": True}, inplace=inplace)
            np.testing.assert_array_equal(got[-1], np.where(x > 0, expected, 0))


@pytest.mark.parametrize("where", ["x", "dy", "before"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_nothing_is_updated_after_an_overflow(where: str, bad: float) -> None:
    for columns, depth in OVERFLOWS:
        x, dy, w, b = operands(columns, depth, "f2")
        x[0, 0] = dy[0, 0] = 65504  # the largest that is none
        if where != "before":
            (x if where == "x" else dy)[0, -1] = bad
        given = [x, dy, w, b, HYPER, ONE, YES if where == "before" else NO]
        got = check_kernel("DenseUpdate", given, {"dx": True}, inplace={0: 2, 1: 3, 2: 6}, allow_nan=True)
        np.testing.assert_array_equal(got[0], w)
        np.testing.assert_array_equal(got[1], b)
        assert got[2][0] == 1
