"""The optimizer step, loss scaling, and what surrounds them."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

ONE = np.float32([1])
NO, YES = np.int32([0]), np.int32([1])


def normal(seed: int, count: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_fill(count: int, dtype: type) -> None:
    (y,) = check_kernel("Fill", [normal(1, count, dtype)], {"value": 0.1}, inplace={0: 0})
    assert (y == dtype(0.1)).all()
    (y,) = check_kernel("Fill", [normal(1, count, dtype)], inplace={0: 0})
    assert (y == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("count", [1, 8, 9, 65])
def test_finite_check(count: int, dtype: type) -> None:
    x = normal(count, count, dtype)
    x[0] = np.finfo(dtype).max
    assert check_kernel("FiniteCheck", [x, NO], inplace={0: 1})[0] == 0
    # an overflow found before stays
    assert check_kernel("FiniteCheck", [x, YES], inplace={0: 1})[0] == 1
    for bad in (np.nan, np.inf, -np.inf):
        for at in (0, count // 2, count - 1):
            broken = x.copy()
            broken[at] = bad
            assert check_kernel("FiniteCheck", [broken, NO], inplace={0: 1})[0] == 1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
@pytest.mark.parametrize("decay", [0.0, 1e-4])
def test_sgd(count: int, decay: float) -> None:
    w, g, v = (normal(i, count) for i in range(3))
    hyper, scale = np.float32([0.1, 0.9, decay, 0.25]), np.float32([8])
    plain, cleared = check_kernel("Sgd", [w, g, None, hyper, scale, NO], inplace={0: 0, 1: 1})
    assert not cleared.any()
    step = g.astype(np.float64) * 0.25 / 8 + np.float64(hyper[2]) * w
    np.testing.assert_allclose(plain, w - 0.1 * step, rtol=1e-5, atol=1e-6)
    moved, velocity, cleared = check_kernel("Sgd", [w, g, v, hyper, scale, NO], inplace={0: 0, 1: 2, 2: 1})
    assert not cleared.any()
    np.testing.assert_allclose(velocity, 0.9 * v + step, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved, w - 0.1 * (0.9 * v + step), rtol=1e-5, atol=1e-6)


def test_sgd_only_clears_after_an_overflow() -> None:
    w, g, v = normal(0, 20), np.full(20, np.inf, np.float32), normal(2, 20)
    hyper = np.float32([0.1, 0.9, 0, 1])
    moved, velocity, cleared = check_kernel("Sgd", [w, g, v, hyper, ONE, YES], inplace={0: 0, 1: 2, 2: 1})
    assert not cleared.any()
    assert np.array_equal(moved, w)
    assert np.array_equal(velocity, v)


def test_sgd_keeps_updates_that_vanish_in_fp16() -> None:
    w, g = np.float32([0.5]), np.float32([1])
    hyper = np.float32([1e-4, 0, 0, 1])
    moved, _ = check_kernel("Sgd", [w, g, None, hyper, ONE, NO], inplace={0: 0, 1: 1})
    assert moved[0] == np.float32(0.5) - np.float32(1e-4)


@pytest.mark.parametrize(
    ("state", "attrs", "want"),
    [
        ((1024, 1, 5, 2), {}, (512, 0, 0, 3)),
        ((1.5, 1, 5, 0), {}, (1, 0, 0, 1)),
        ((1024, 0, 198, 2), {}, (1024, 0, 199, 2)),
        ((1024, 0, 199, 2), {}, (2048, 0, 0, 2)),
        ((32768, 0, 199, 0), {}, (32768, 0, 0, 0)),
        ((8, 0, 2, 0), {"growth_interval": 3, "max": 12.0}, (12, 0, 0, 0)),
        ((1, 1, 0, 0), {"min": 1.0, "max": 1.0}, (1, 0, 0, 1)),
        ((1, 0, 199, 0), {"min": 1.0, "max": 1.0}, (1, 0, 0, 0)),
    ],
)
def test_loss_scale_update(
    state: tuple[float, ...], attrs: dict[str, float], want: tuple[float, ...]
) -> None:
    inputs = [np.float32([state[0]]), *(np.int32([n]) for n in state[1:])]
    outputs = check_kernel("LossScaleUpdate", inputs, attrs, inplace={i: i for i in range(4)})
    assert tuple(float(v[0]) for v in outputs) == want


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_sum_of_squares(dtype: type) -> None:
    for count in (*range(1, 18), 1000):
        x = normal(count, count, dtype)
        (total,) = check_kernel("SumSquares", [x])
        assert abs(total[0] / (x.astype(np.float64) ** 2).sum() - 1) < 1e-6
    # squared in FP32: this would be infinite, and zero, in FP16
    assert check_kernel("SumSquares", [np.float16([60000])])[0] == np.float32(60000) ** 2
    assert check_kernel("SumSquares", [np.float16([1e-4])])[0] > 0


def test_wrong_state_is_refused() -> None:
    node = Node("FiniteCheck", ("x", "n"), ("n",))
    with pytest.raises(GraphError, match=r"'n' is f32\[1\], not i32\[1\]"):
        op_for("FiniteCheck").infer(node, [Tensor("x", (2,), "f32"), Tensor("n", (1,), "f32")])
