"""The analytic head: integer counts that can be undone, Cholesky, and the weights of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_harness import check_kernel

from mcutrain.ir import Array
from mcutrain.ops.head import FULL, MOST_SAMPLES, triangle

SIZES = [1, 2, 3, 8, 17, 65]
SCALE = np.float32([20, 0.5])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def features(seed: int, rows: int, size: int) -> np.ndarray:
    phi = np.random.default_rng(seed).integers(-FULL, FULL + 1, (rows, size)).astype(np.int8)
    phi[:, -1] = FULL
    return phi


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("rows", "depth"), [(1, 1), (1, 64), (3, 7), (5, 33)])
@pytest.mark.parametrize("constant", [False, True])
def test_features(rows: int, depth: int, constant: bool, dtype: type) -> None:
    x = (4 * normal(depth, rows, depth)).astype(dtype)
    (phi,) = check_kernel("HeadFeatures", [x, SCALE], {"constant": constant})
    want = np.clip(np.rint(x.astype(np.float32) * 20), -127, 127)
    assert np.array_equal(phi[:, :depth], want)
    assert (phi[:, depth:] == FULL).all()
    assert phi.shape == (rows, depth + constant)


def test_features_at_the_edges() -> None:
    x = np.float32([[0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4, 1e30, -1e30, np.inf, -np.inf, np.nan, -127.5]])
    (phi,) = check_kernel("HeadFeatures", [x, np.float32([1, 0])], {"constant": False})
    assert phi[0].tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 127, -127, 0, -127]


def admit(labels: Array, count: int, sign: int, regression: bool = False) -> tuple[Array, int]:
    attrs = {"sign": sign, "classes": labels.shape[1] if regression else 4, "regression": regression}
    signs, total = check_kernel("HeadAdmit", [labels, np.int32([count])], attrs, inplace={1: 1})
    return signs, int(total[0])


def test_rows_that_count() -> None:
    labels = np.int32([0, 3, 4, -1, 2])
    assert admit(labels, 10, 1)[0].tolist() == [1, 1, 0, 0, 1]
    assert admit(labels, 10, -1)[0].tolist() == [-1, -1, 0, 0, -1]
    assert (admit(labels, 10, 1)[1], admit(labels, 10, -1)[1]) == (13, 7)
    targets = np.float32([[1, 2], [np.nan, 0], [0, np.inf], [3, 4]])
    assert admit(targets, 5, 1, regression=True)[0].tolist() == [1, 0, 0, 1]


def test_no_more_than_an_int32_holds_and_no_fewer_than_none() -> None:
    labels = np.int32([0, 1, 2])
    assert admit(labels, MOST_SAMPLES - 2, 1)[0].tolist() == [1, 1, 0]
    signs, count = admit(labels, MOST_SAMPLES, 1)
    assert (signs.tolist(), count) == ([0, 0, 0], MOST_SAMPLES)
    signs, count = admit(labels, 2, -1)
    assert (signs.tolist(), count) == ([-1, -1, 0], 0)
    assert MOST_SAMPLES * FULL**2 < 2**31 <= (MOST_SAMPLES + 200) * FULL**2


def update(
    phi: Array, signs: Array, target: Array, gram: Array, k: Array, workers: tuple[int, ...] = (1, 3, 8)
) -> tuple[Array, Array]:
    gram, k = check_kernel(
        "GramUpdate", [phi, signs, target, SCALE, gram, k], inplace={0: 4, 1: 5}, workers=workers
    )
    return gram, k


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("size", SIZES)
def test_gram_of_labels(size: int, rows: int) -> None:
    phi, classes = features(size, rows, size), 4
    labels = np.random.default_rng(1).integers(0, classes, rows).astype(np.int32)
    signs = np.int32([1, -1, 0, 1, 1])[:rows]
    gram = np.arange(triangle(size), dtype=np.int32)
    k = np.arange(classes * size, dtype=np.int32).reshape(classes, size)
    got, got_k = update(phi, signs, labels, gram, k)
    wide = phi.astype(np.int64)
    want = (wide.T * signs) @ wide
    assert np.array_equal(got, gram + want[np.triu_indices(size)])
    y = np.where(labels[:, None] == np.arange(classes), 1, -1)
    assert np.array_equal(got_k, k + (y.T * signs) @ wide)


@pytest.mark.parametrize("size", SIZES)
def test_gram_of_targets(size: int) -> None:
    phi, signs = features(size, 3, size), np.int32([1, 1, -1])
    targets = np.float32([[0.5, -2], [7, -0.001], [1.25, 0]])
    wide = np.int64([[-1, 2**40, -(2**45)], [5, 2**31, 2**32 - 1]])[:, np.arange(size) % 3]
    k = np.stack([wide >> 32, wide & 0xFFFFFFFF]).astype(np.uint32).view(np.int32)
    _, got = update(phi, signs, targets, np.zeros(triangle(size), np.int32), k)
    total = (got[0].astype(np.int64) << 32) + got[1].view(np.uint32)
    q = np.clip(np.rint(targets.astype(np.float64) * 0.5 * 32768), -32767, 32767).astype(np.int64)
    assert np.array_equal(total, wide + (q.T * signs) @ phi.astype(np.int64))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(10)), st.sets(st.integers(0, 9)))
def test_forgetting_gives_the_counts_of_never_having_learned(order: list[int], gone: set[int]) -> None:
    """In any order, and bit for bit."""
    size, classes = 9, 3
    phi, labels = features(3, 10, size), np.arange(10, dtype=np.int32) % classes

    def learned(steps: list[tuple[int, int]]) -> tuple[Array, Array]:
        gram, k = np.zeros(triangle(size), np.int32), np.zeros((classes, size), np.int32)
        for i, sign in steps:
            one = slice(i, i + 1)
            gram, k = update(phi[one], np.int32([sign]), labels[one], gram, k, workers=(2,))
        return gram, k

    steps = [(i, 1) for i in order]
    for i in gone:
        steps.insert(steps.index((i, 1)) + 1 + i % 3, (i, -1))
    never = learned([(i, 1) for i in range(10) if i not in gone])
    for mine, wanted in zip(learned(steps), never, strict=True):
        assert np.array_equal(mine, wanted)


def problem(size: int, samples: int = 400) -> tuple[Array, Array]:
    """Gram matrix (its triangle) and targets of random correlated features."""
    phi = features(size, samples, size).astype(np.int64)
    phi[:, : size // 2] = (phi[:, : size // 2] + 3 * phi[:, size - size // 2 :]) // 4
    y = np.where(np.arange(samples)[:, None] % 3 == np.arange(3), 1, -1)
    return (phi.T @ phi)[np.triu_indices(size)].astype(np.int32), (y.T @ phi).astype(np.int32)


@pytest.mark.parametrize("size", SIZES)
def test_cholesky(size: int) -> None:
    gram, _ = problem(size)
    factor, solved = check_kernel("GramFactor", [gram, np.float32([1000])])
    assert solved[0] == 1
    u, a = np.zeros((size, size)), np.zeros((size, size))
    u[np.triu_indices(size)] = factor
    a[np.triu_indices(size)] = gram
    a = np.triu(a, 1).T + a + 1000 * np.eye(size)
    np.testing.assert_allclose(u.T @ u, a, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("gram", [[0, 0, 0], [1, 2, 1], [-5, 0, 1]])
def test_what_has_no_factor(gram: list[int]) -> None:
    factor, solved = check_kernel("GramFactor", [np.int32(gram), np.float32([0])])
    assert (solved[0], factor.any()) == (0, False)
    factor, solved = check_kernel("GramFactor", [np.int32(gram), np.float32([np.nan])])
    assert (solved[0], factor.any()) == (0, False)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("size", [2, 3, 17, 65])
def test_weights_solve_the_ridge_regression(size: int, constant: bool, dtype: type) -> None:
    gram, k = problem(size)
    ridge = np.float32([2000])
    factor, solved = check_kernel("GramFactor", [gram, ridge])
    w = normal(1, 3, size - constant).astype(dtype)
    bias = normal(2, 3) if constant else None
    scale = np.float32([0.25, 0])
    inplace = {0: 4, 1: 5} if constant else {0: 4}
    made, *made_bias = check_kernel("HeadWeights", [factor, solved, k, scale, w, bias], inplace=inplace)
    a = np.zeros((size, size))
    a[np.triu_indices(size)] = gram
    a = np.triu(a, 1).T + a + 2000 * np.eye(size)
    exact = np.linalg.solve(a, k.T.astype(np.float64)).T
    tolerance = (1e-3 if dtype is np.float16 else 1e-4) * np.abs(exact).max()
    np.testing.assert_allclose(made, 0.25 * exact[:, : size - constant], atol=0.25 * tolerance)
    if constant:
        np.testing.assert_allclose(made_bias[0], 127 * exact[:, -1], atol=127 * tolerance)
    kept = check_kernel("HeadWeights", [factor, np.int32([0]), k, scale, w, bias], inplace=inplace)
    assert np.array_equal(kept[0], w)


def test_weights_of_a_regression() -> None:
    """64-bit sums of Q15 targets give the weights in the targets' own unit."""
    size, samples = 9, 300
    phi = features(4, samples, size).astype(np.int64)
    true = np.random.default_rng(1).uniform(-0.02, 0.02, (2, size))
    targets = phi @ true.T
    q = np.rint(targets * 0.5 * 32768).astype(np.int64)
    wide = q.T @ phi
    k = np.stack([wide >> 32, wide & 0xFFFFFFFF]).astype(np.uint32).view(np.int32)
    gram = (phi.T @ phi)[np.triu_indices(size)].astype(np.int32)
    factor, solved = check_kernel("GramFactor", [gram, np.float32([1])])
    w, bias = np.zeros((2, size - 1), np.float32), np.zeros(2, np.float32)
    w, bias = check_kernel(
        "HeadWeights", [factor, solved, k, np.float32([2, 0.5]), w, bias], inplace={0: 4, 1: 5}
    )
    np.testing.assert_allclose(w, 2 * true[:, :-1], atol=2e-4)
    np.testing.assert_allclose(bias, 127 * true[:, -1], atol=127 * 1e-4)
