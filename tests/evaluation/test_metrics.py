"""Measures of outputs against cases worked out by hand, and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcutrain.evaluation import metrics

# log 1, log 2, log 5 → probabilities 1/8, 2/8, 5/8
LOGITS = np.log(np.array([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]])).astype(np.float64)


def test_losses_entropy_and_margins_of_known_probabilities() -> None:
    y = np.array([1, 0])
    assert metrics.softmax(LOGITS) == pytest.approx(np.array([[0.125, 0.25, 0.625], [0.5, 0.25, 0.25]]))
    assert metrics.losses(LOGITS, y) == pytest.approx([math.log(4), math.log(2)])
    assert metrics.entropy(LOGITS)[1] == pytest.approx(1.5 * math.log(2))
    # odds of 1/4 are 1/3, of 1/2 are 1
    assert metrics.margins(LOGITS, y) == pytest.approx([-math.log(3), 0.0], abs=1e-12)


def test_a_certain_model_keeps_its_digits() -> None:
    z = np.array([[1000.0, 0.0, -1000.0]])
    assert metrics.margins(z, np.array([0]))[0] == pytest.approx(1000.0)
    assert metrics.losses(z, np.array([2]))[0] == pytest.approx(2000.0)
    assert metrics.entropy(z)[0] == 0.0


def test_accuracy_over_all_and_by_class() -> None:
    z = np.eye(3)[[0, 1, 1, 2, 0]]
    y = np.array([0, 1, 0, 2, 2])
    assert metrics.accuracy(z, y) == pytest.approx(0.6)
    by_class = metrics.accuracy_by_class(z, y, 4)
    assert by_class[:3] == pytest.approx([0.5, 1.0, 0.5])
    assert math.isnan(by_class[3])
    assert math.isnan(metrics.accuracy(z[:0], y[:0]))


def test_regression_measures() -> None:
    assert metrics.mean_absolute_error(np.array([[1.0, 2.0]]), np.array([[0.0, 5.0]])) == 2.0
    # a shift moves all the mass; equal bags in another order are the same distribution
    assert metrics.wasserstein1(np.array([0.0, 1.0]), np.array([3.0, 4.0])) == pytest.approx(3.0)
    assert metrics.wasserstein1(np.array([2.0, 1.0]), np.array([1.0, 2.0])) == 0.0
    # 1/3 of the mass goes from 1 to 4, in bags of different size
    assert metrics.wasserstein1(np.array([1.0, 1.0, 1.0]), np.array([1, 1, 4, 1, 1, 4])) == pytest.approx(1.0)


def test_divergences_by_hand() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    assert metrics.kl_divergence(p, q) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert metrics.kl_divergence(np.array([[1.0, 0.0]]), p) == pytest.approx(math.log(2))
    # disjoint supports are one bit apart, whatever the order
    left, right = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert metrics.jensen_shannon(left, right)[0] == pytest.approx(1.0)
    m = 0.375 * math.log2(0.5 / 0.375) * 0
    by_hand = 0.5 * (0.5 * math.log2(0.5 / 0.375) + 0.5 * math.log2(0.5 / 0.625)) + m
    by_hand += 0.5 * (0.25 * math.log2(0.25 / 0.375) + 0.75 * math.log2(0.75 / 0.625))
    assert metrics.jensen_shannon(p, q)[0] == pytest.approx(by_hand)
    assert metrics.jensen_shannon(q, p)[0] == pytest.approx(by_hand)
    assert metrics.zrf(p, p) == pytest.approx(1.0)
    assert metrics.zrf(left, right) == pytest.approx(0.0)
    assert metrics.activation_distance(left, right) == pytest.approx(math.sqrt(2))


def test_klom_of_equal_gaussians_is_zero_and_of_a_shift_is_half_its_square() -> None:
    retrained = np.array([[0.0, 1.0], [2.0, 3.0], [1.0, 2.0]])  # variance 1 at both samples
    assert metrics.klom(retrained, retrained) == pytest.approx(0.0)
    one = retrained.mean(axis=0, keepdims=True) + 2.0
    assert metrics.klom(one, retrained) == pytest.approx(2.0**2 / 2)
    wide = (retrained - 1.0) * 2.0 + 1.0  # variance 4, mean of the second sample 2 → 3
    ln = 0.5 * (math.log(1 / 4) + 4 - 1)
    assert metrics.klom(wide, retrained) == pytest.approx(ln + 0.5 * 0.5)
    assert math.isnan(metrics.klom(one, retrained[:1]))


def test_weight_distance_is_relative() -> None:
    distances = metrics.weight_distance(
        {"w": np.array([3.0, 4.5]), "b": np.array([0.5])}, {"w": np.array([3.0, 4.0]), "b": np.array([0.0])}
    )
    assert distances == {"w": pytest.approx(0.1), "b": pytest.approx(0.5)}


def test_spread_is_the_largest_distance_to_the_mean_of_the_others() -> None:
    assert metrics.mean_and_spread([1.0, 2.0, 6.0]) == (pytest.approx(3.0), pytest.approx(4.5))
    assert metrics.mean_and_spread([2.0, float("nan")]) == (2.0, 0.0)
