"""Membership attacks find what there is to find, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.errors import OptionError
from mcutrain.evaluation import lira, membership


def logits(confidence: np.ndarray, labels: np.ndarray, classes: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    """Logits that give the labels these probabilities and share the rest."""
    p = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    p[np.arange(len(labels)), labels] = confidence
    return np.log(p)


def test_auc_counts_pairs() -> None:
    # pairs: 3>1, 3>2, 2>1, 2=2 → 3.5 of 4
    assert membership.auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
    assert membership.auc(np.array([0.0]), np.array([1.0])) == 0.0
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40), rng.integers(0, 9, 31)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert membership.auc(a, b) == pytest.approx(pairs)
    assert membership.loss_auc(np.array([0.1]), np.array([0.9])) == 1.0
    assert membership.privleak(0.6, 0.5) == pytest.approx(0.2)


def test_logistic_regression_meets_its_optimality_condition_and_balances_the_classes() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(1, 1, (20, 2))])
    y = np.arange(520) >= 500
    fitted = membership.LogisticRegression(x, y)
    p = fitted.probability(x)
    standard = (x - x.mean(0)) / x.std(0)
    weight = np.where(y, 260 / 20, 260 / 500)
    gradient = standard.T @ (weight * (p - y)) + fitted.coefficients[:2]
    assert np.abs(gradient).max() < 1e-6
    # balanced: 20 positives among 520 are not drowned
    assert (p[y] > 0.5).mean() > 0.6
    assert (p[~y] > 0.5).mean() < 0.4


def test_entropy_attack_sees_confidence_and_is_not_fooled_by_numbers() -> None:
    rng = np.random.default_rng(2)
    zeros = np.zeros(900, int)
    members = logits(rng.uniform(0.9, 0.99, 900), zeros)
    outsiders = logits(rng.uniform(0.4, 0.7, 100), zeros[:100])
    assert membership.entropy_attack(members[:50], members, outsiders) > 0.95
    # an unbalanced attack would call these members: there are nine times as many
    assert membership.entropy_attack(outsiders[:50], members, outsiders) < 0.05


def test_confidence_attack_takes_a_threshold_for_each_class() -> None:
    # class 0 separates at .9, class 1 at .4: one threshold cannot serve both
    y = np.repeat([0, 1], 4)
    members = np.array([0.95, 0.96, 0.97, 0.98, 0.5, 0.55, 0.6, 0.45])
    outsiders = np.array([0.8, 0.7, 0.75, 0.85, 0.1, 0.2, 0.3, 0.35])
    asked = np.array([0.85, 0.99, 0.5, 0.2])
    got = membership.confidence_attack(
        (logits(asked, np.array([0, 0, 1, 1])), np.array([0, 0, 1, 1])),
        (logits(members, y), y),
        (logits(outsiders, y), y),
    )
    assert got == 0.5
    assert membership.best_threshold(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 2.0


def test_rmia_by_hand() -> None:
    # raised references: ½(1.3·.5 + .7) = .675 everywhere; scores rank by p alone
    p_x, p_z = np.array([0.9, 0.2]), np.array([0.1, 0.5, 0.8, 0.95])
    references_x, references_z = [np.full(2, 0.5)] * 2, [np.full(4, 0.5)] * 2
    # equal references leave the confidence to rank: 3 and 1 pairs won of 4
    assert membership.rmia(p_x, p_z, references_x, references_z) == pytest.approx(4 / 8)
    # ½(1.3·.9 + .7) = .935 and ½(1.3·.2 + .7) = .48: .6/.935 = .64 against .5/.48 = 1.04
    got = membership.rmia(np.array([0.6]), np.array([0.5]), [np.array([0.9])], [np.array([0.2])])
    assert got == 0.0
    # harder samples (low reference) with the same confidence are more surely members
    easy, hard = [np.array([0.9, 0.9])], [np.array([0.1, 0.1])]
    p = np.array([0.6, 0.6])
    assert membership.rmia(p, p, hard, easy) == 1.0


def test_halves_put_every_sample_in_and_out_equally_often() -> None:
    inside = lira.halves(31, 6, seed=3)
    assert inside.shape == (12, 31)
    assert (inside.sum(axis=0) == 6).all()
    assert (inside[0::2] != inside[1::2]).all()
    assert set(inside.sum(axis=1)) == {15, 16}
    assert (inside == lira.halves(31, 6, seed=3)).all()
    assert (inside != lira.halves(31, 6, seed=4)).any()


@pytest.mark.parametrize("pairs", [8, 24])
def test_lira_tells_a_trained_from_an_innocent_model(pairs: int) -> None:
    rng = np.random.default_rng(5)
    n = 200
    ease = rng.normal(0, 2, n)
    inside = lira.halves(n, pairs, seed=0)
    margins = ease + 2.0 * inside + rng.normal(0, 1, inside.shape)
    attack = lira.Lira.fit(margins, inside)
    forgotten, outsiders = np.arange(100), np.arange(100, n)
    guilty_of = np.arange(n) < 100

    def mean_attack(shift: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        models = (ease + shift + rng.normal(0, 1, n) for _ in range(10))
        return np.mean([attack.attack(m, forgotten, outsiders) for m in models], axis=0)

    # the best attack reaches Φ(1) = .84 and an area of Φ(√2) = .92; fitted Gaussians a little less
    guilty = mean_attack(2.0 * guilty_of)
    assert 0.78 < guilty[0] < 0.86
    assert 0.86 < guilty[1] < 0.94
    assert mean_attack(np.zeros(n)) == pytest.approx([0.5, 0.5], abs=0.05)


def test_lira_weighs_both_sides_alike_whatever_their_numbers() -> None:
    fitted = lira.Lira(np.full(6, 1.0), np.full(6, -1.0), np.ones(6), np.ones(6))
    margins = np.array([2.0, -2.0, -2.0, -2.0, -2.0, 2.0])
    # one of two forgotten is taken for trained, one of four outsiders: ½(½ + ¾)
    accuracy, area = fitted.attack(margins, np.array([0, 1]), np.array([2, 3, 4, 5]))
    assert accuracy == pytest.approx(0.625)
    assert area == pytest.approx((3.5 + 1.5) / 8)
    assert np.isnan(fitted.attack(margins, np.array([0]), np.array([], int))).all()


def test_lira_score_is_the_log_likelihood_ratio() -> None:
    fitted = lira.Lira(np.array([2.0]), np.array([0.0]), np.array([1.0]), np.array([2.0]))
    # log N(1; 2, 1) - log N(1; 0, 2) = -1/2 - (-1/8 - log 2)
    assert fitted.score(np.array([1.0]))[0] == pytest.approx(-0.5 + 0.125 + np.log(2))
    with pytest.raises(OptionError, match="too few"):
        lira.Lira.fit(np.zeros((2, 3)), lira.halves(3, 1, 0))
