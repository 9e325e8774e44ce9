"""Importance of parameters: squares of gradients and what dampening makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel

from mcutrain.errors import GraphError
from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics.octaves import decode, encode
from mcutrain.ops import op_for

COUNTS = [1, 7, 8, 9, 63, 64, 65, 100, 537]
NONE = np.zeros(8, np.int32)


def normal(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def importances(seed: int, count: int) -> np.ndarray:
    """Positive numbers over thirty octaves, a tenth of them zero."""
    rng = np.random.default_rng(seed)
    return (2.0 ** rng.uniform(-25, 5, count) * (rng.random(count) > 0.1)).astype(np.float32)


@pytest.mark.parametrize("count", COUNTS)
def test_add_squares(count: int) -> None:
    acc, g = np.abs(normal(1, count)), normal(2, count) * np.float32(1e-3)
    (total,) = check_kernel("AddSquares", [acc, g], inplace={0: 0})
    np.testing.assert_allclose(total, acc + g.astype(np.float64) ** 2, rtol=1e-6)


def test_squares_are_not_lost_as_they_would_be_in_fp16() -> None:
    g = np.float32([1e-6, 3e-10, 60000, np.inf, np.nan])
    (total,) = check_kernel("AddSquares", [np.zeros(5, np.float32), g], inplace={0: 0}, allow_nan=True)
    np.testing.assert_array_equal(total, g * g)
    assert 0 < total[1] < 1e-18


def test_the_square_rounds_before_the_sum() -> None:
    """A fused step would give another result."""
    acc, g = np.float32([-1]), np.float32([1 + 2**-12])
    (total,) = check_kernel("AddSquares", [acc, g], inplace={0: 0})
    assert total[0] == np.float32(g[0] * g[0]) - 1
    assert total[0] != float(g[0]) ** 2 - 1


@pytest.mark.parametrize("count", COUNTS)
def test_stored_importance_is_at_most_a_quarter_octave_more(count: int) -> None:
    acc = importances(count, count)
    (code,) = check_kernel("StoreImportance", [acc, np.float32([0.25])])
    exact = acc * np.float32(0.25)
    assert ((code == 0) == (acc == 0)).all()
    ratio = decode(code)[acc > 0] / exact[acc > 0]
    assert ((ratio >= 1) & (ratio < 1.19)).all()


def test_every_code_is_stored_and_read_by_the_kernels() -> None:
    values = decode(np.arange(256).astype(np.uint8))
    odd = np.float32([np.inf, np.nan, -1, -0.0, 1e-45, 1e-20, 1e30])
    steps = np.concatenate([values, np.nextafter(values, np.float32(1e9)), np.nextafter(values, 0), odd])
    (code,) = check_kernel("StoreImportance", [steps.astype(np.float32), np.float32([1])])
    assert np.array_equal(code[:256], np.arange(256))
    # nothing forgotten: the codes are read and written again
    settings = np.float32([10, 0, 1])
    (kept,) = check_kernel(
        "RetainImportance", [code[:256], np.ones(256, np.float32), settings], inplace={0: 0}
    )
    assert np.array_equal(kept[:255], code[:255])


@pytest.mark.parametrize("count", COUNTS)
def test_importance_of_the_retained_samples(count: int) -> None:
    """(N I_o - n I_f) / (N - n) is the mean over the others, to what a code of I_o can say."""
    samples, gone = 10, 4
    squares = np.stack([importances(count + i, count) for i in range(samples)])
    total, forget = squares.sum(0), squares[:gone].sum(0)
    code = encode(total / np.float32(samples))
    settings = np.float32([samples, gone, 1 / gone])
    (kept,) = check_kernel("RetainImportance", [code, forget, settings], inplace={0: 0})
    exact = squares[gone:].mean(0)
    slack = total / (samples - gone) * 0.19
    assert (decode(kept) >= exact * 0.999).all()
    assert (decode(kept) <= (exact + slack) * 1.19).all()


def dampened(w: Array, acc: Array, code: Array, *settings: float) -> tuple[Array, Array]:
    moved, counts = check_kernel(
        "Dampen", [w, acc, code, np.float32(settings), np.arange(8, dtype=np.int32)], inplace={0: 0, 1: 4}
    )
    return moved, counts - np.arange(8)


@pytest.mark.parametrize("count", COUNTS)
def test_dampen(count: int) -> None:
    w, forget, known = normal(1, count), importances(2, count), importances(3, count)
    code = encode(known)
    alpha, strength, factor = 2.0, 0.5, 0.25
    moved, counts = dampened(w, forget, code, alpha, strength, factor)
    f, o = forget.astype(np.float64) * factor, decode(code).astype(np.float64)
    multiplier = np.where(f > alpha * o, np.minimum(strength * o / np.where(f > 0, f, 1), 1), 1)
    np.testing.assert_allclose(moved, w * multiplier, rtol=1e-6)
    assert counts.sum() == np.count_nonzero(multiplier < 1)
    if count > 60:
        assert 0 < counts.sum() < count
        assert (moved[(o == 0) & (f > 0)] == 0).all()


def test_dampening_never_makes_a_weight_larger() -> None:
    w, acc = normal(1, 200), importances(2, 200)
    moved, counts = dampened(w, acc, encode(acc), 0.1, 5, 1)
    assert np.array_equal(moved, w)
    assert not counts.any()


def test_an_importance_at_the_threshold_is_not_above_it() -> None:
    code = np.arange(256).astype(np.uint8)
    moved, counts = dampened(normal(1, 256), 2 * decode(code), code, 2, 1, 1)
    assert np.array_equal(moved, normal(1, 256))
    assert not counts.any()


def test_alpha_of_all_over_forgotten_selects_nothing() -> None:
    """I_f / I_o is at most N / n, when a weight matters to the forgotten samples alone."""
    samples, gone = 500, 20
    squares = importances(4, 4000)
    code = encode(squares * np.float32(1 / samples))
    for alpha, some in ((samples / gone, False), (0.5 * samples / gone, True)):
        moved, counts = dampened(normal(1, 4000), squares, code, alpha, 1, 1 / gone)
        assert counts.any() == some
        assert np.array_equal(moved, normal(1, 4000)) != some


def test_wrong_operands_are_refused() -> None:
    tensors = [
        Tensor("w", (4,), "f32"),
        Tensor("acc", (4,), "f32"),
        Tensor("importance", (4,), "i8"),
        Tensor("settings", (3,), "f32"),
        Tensor("counts", (8,), "i32"),
    ]
    with pytest.raises(GraphError, match=r"'importance' is i8\[4\], not u8\[4\]"):
        op_for("Dampen").infer(Node("Dampen", tuple(t.name for t in tensors), ("w", "counts")), list(tensors))
