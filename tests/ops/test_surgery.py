"""Sparse weights, projected gradients and masks."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import check_kernel
from test_importance import COUNTS, NONE, normal

from mcutrain.numerics.portions import portions

ONE, NO = np.float32([1]), np.int32([0])


@pytest.mark.parametrize("count", COUNTS)
def test_portions_are_whole_blocks_and_everything_once(count: int) -> None:
    parts = portions(count)
    assert np.concatenate([np.arange(count)[part] for part in parts]).tolist() == list(range(count))
    assert all(part.start % 8 == 0 or part.start == count for part in parts)


@pytest.mark.parametrize("count", COUNTS)
def test_shrink(count: int) -> None:
    w = normal(1, count)
    (moved,) = check_kernel("Shrink", [w, np.float32([0.4])], inplace={0: 0})
    exact = np.sign(w) * np.maximum(np.abs(w.astype(np.float64)) - 0.4, 0)
    np.testing.assert_allclose(moved, exact, atol=1e-7)
    assert not np.signbit(moved[moved == 0]).any()


def test_shrink_lets_nan_show() -> None:
    w = np.float32([np.nan, np.inf, -np.inf, -0.0, 1, -1])
    (moved,) = check_kernel("Shrink", [w, ONE], inplace={0: 0}, allow_nan=True)
    np.testing.assert_array_equal(moved, [np.nan, np.inf, -np.inf, 0, 0, 0])


@pytest.mark.parametrize("count", COUNTS)
def test_prune(count: int) -> None:
    w = normal(1, count)
    w[0] = -0.5
    moved, counts = check_kernel("Prune", [w, np.float32([0.5]), NONE], inplace={0: 0, 1: 2})
    np.testing.assert_array_equal(moved, np.where(np.abs(w) < 0.5, 0, w))
    assert counts.sum() == np.count_nonzero(np.abs(w) < 0.5)
    assert moved[0] == -0.5


@pytest.mark.parametrize("count", COUNTS)
def test_dot_portions(count: int) -> None:
    a, b = normal(1, count), normal(2, count)
    (sums,) = check_kernel("DotPortions", [a, b])
    for total, part in zip(sums, portions(count), strict=True):
        exact = a[part].astype(np.float64) @ b[part]
        assert abs(total - exact) <= 1e-5 * max(1, np.abs(a[part]) @ np.abs(b[part]))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_project(count: int, sign: int) -> None:
    held = normal(1, count)
    acc = (sign * np.float32(0.5) * held + np.float32(0.01) * normal(2, count)).astype(np.float32)
    sums = [check_kernel("DotPortions", [acc, held])[0], check_kernel("DotPortions", [held, held])[0]]
    (moved,) = check_kernel("Project", [acc, held, *sums], inplace={0: 0})
    if sign > 0:
        assert np.array_equal(moved, acc)
    else:
        exact = acc.astype(np.float64) - (acc @ held) / (held @ held) * held
        np.testing.assert_allclose(moved, exact, atol=1e-5)
        assert abs(moved.astype(np.float64) @ held) <= 1e-5 * count


def test_nothing_is_projected_on_nothing() -> None:
    zero = np.zeros(8, np.float32)
    for dot in (-1, 0, np.nan):
        dots = np.float32([dot, 0, 0, 0, 0, 0, 0, 0])
        (moved,) = check_kernel("Project", [zero + 1, zero, dots, zero], inplace={0: 0})
        assert np.array_equal(moved, zero + 1)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_select_mask(count: int, kind: int) -> None:
    w, acc = normal(1, count), normal(2, count)
    mask, counts = check_kernel("SelectMask", [w, acc, np.float32([kind, 0.4]), NONE], inplace={1: 3})
    score = {0: np.abs(acc), 1: np.abs(w * acc), 2: np.zeros(count)}[kind]
    assert np.array_equal(mask, (score > np.float32(0.4)).astype(np.uint8))
    assert counts.sum() == mask.sum()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("momentum", [False, True])
def test_masked_sgd(count: int, momentum: bool) -> None:
    w, g = normal(1, count), normal(2, count)
    v = normal(3, count) if momentum else None
    mask = (normal(4, count) > 0).astype(np.uint8)
    inplace = {0: 0, 1: 2, 2: 1} if momentum else {0: 0, 1: 1}
    hyper, scale = np.float32([0.1, 0.9, 0.01, 0.25]), np.float32([8])
    plain = check_kernel("Sgd", [w, g, v, hyper, scale, NO], inplace=inplace)
    moved = check_kernel("MaskedSgd", [w, g, v, hyper, scale, NO, mask], inplace=inplace)
    assert np.array_equal(moved[0], np.where(mask, plain[0], w))
    assert all(np.array_equal(a, b) for a, b in zip(moved[1:], plain[1:], strict=True))
    stopped = check_kernel("MaskedSgd", [w, g, v, hyper, scale, np.int32([1]), mask], inplace=inplace)
    assert np.array_equal(stopped[0], w)
    assert not stopped[-1].any()


def test_count_total() -> None:
    counts = np.int32([1, 20, 300, 4000, 0, 60000, 7, 2**20])
    (total,) = check_kernel("CountTotal", [counts])
    assert total[0] == counts.sum()


def test_new_tensors_are_filled() -> None:
    for dtype, kind in (("f32", np.float32), ("f16", np.float16), ("i32", np.int32)):
        (made,) = check_kernel("Fill", [], {"shape": (3, 5), "dtype": dtype})
        assert (made.dtype, made.shape, made.any()) == (kind, (3, 5), False)
