"""Measures of features, against hand-made geometry and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcutrain.evaluation import representation as rep


def test_cka_forgets_rotation_scale_and_shift_only() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    same = rep.linear_cka(rep.centred_gram(x), rep.centred_gram(3 * x @ rotation + 7))
    assert same == pytest.approx(1.0)
    assert rep.linear_cka(rep.centred_gram(x), rep.centred_gram(rng.normal(size=(40, 6)))) < 0.4
    # orthogonal one-dimensional representations share nothing
    a, b = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert rep.linear_cka(rep.centred_gram(a), rep.centred_gram(b)) == 0.0
    assert math.isnan(rep.linear_cka(rep.centred_gram(np.ones((4, 2))), rep.centred_gram(a)))


def test_cka_equals_its_feature_space_form() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2, 4)), rng.normal(size=(30, 5))
    xc, yc = x.reshape(30, -1) - x.reshape(30, -1).mean(0), y - y.mean(0)
    wanted = np.linalg.norm(yc.T @ xc) ** 2 / np.linalg.norm(xc.T @ xc) / np.linalg.norm(yc.T @ yc)
    assert rep.linear_cka(rep.centred_gram(x), rep.centred_gram(y)) == pytest.approx(wanted)


def test_probe_agrees_with_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(2)
    y = rng.integers(0, 4, 300)
    x = rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[y]
    ours = rep.SoftmaxRegression(x, y, 4, steps=2000)
    standard = (x - x.mean(0)) / x.std(0)
    # ridge/2 ||W||² against the mean loss: C = 1 / (n ridge)
    theirs = linear_model.LogisticRegression(C=1 / (300 * 1e-3), max_iter=5000).fit(standard, y)
    assert (ours.predict(x) == theirs.predict(standard)).mean() > 0.99


def test_probe_finds_a_class_the_classifier_lost() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(3), 50)
    centres = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    x = centres[y] + rng.normal(size=(150, 2))
    asked = centres[2] + rng.normal(size=(40, 2))
    label = np.full(40, 2)
    assert rep.probe_recall(x, y, asked, label, 3) == 1.0
    assert rep.neighbour_recall(x, y, asked, label, 3) == 1.0
    # features that do not carry the class
    assert rep.probe_recall(rng.normal(size=(150, 2)), y, rng.normal(size=(40, 2)), label, 3) < 0.7
    assert math.isnan(rep.probe_recall(x, y, asked[:0], label[:0], 3))


def test_neighbours_vote_and_the_nearest_decides_a_tie() -> None:
    # by angle from 0: 1° (class 1), 2° (class 0), 3° (class 0), 80° (class 1)
    angle = np.deg2rad([1, 2, 3, 80])
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    y = np.array([1, 0, 0, 1])
    asked = np.array([[1.0, 0.0]])
    assert rep.neighbour_recall(x, y, asked, np.array([1]), 2, k=1) == 1.0
    assert rep.neighbour_recall(x, y, asked, np.array([0]), 2, k=3) == 1.0
    assert rep.neighbour_recall(x, y, asked, np.array([1]), 2, k=4) == 1.0


def test_prototypes_enrol_a_class_from_a_few_samples() -> None:
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    y = np.array([0, 0, 1])
    enrolled = np.array([[-1.0, 0.1]])
    asked = np.array([[-2.0, 0.0], [-0.5, 0.1], [1.0, 0.0], [0.1, 1.0]])
    assert rep.prototype_recall(x, y, enrolled, 2, asked, 3) == 0.5
    # own samples of an enrolled class are replaced by the few, not added
    assert rep.prototype_recall(x, y, enrolled, 0, asked, 3) == 0.5


def test_row_trace() -> None:
    cosine, ratio = rep.row_trace(np.array([0.0, 2.0]), np.array([3.0, 3.0]))
    assert cosine == pytest.approx(math.sqrt(0.5))
    assert ratio == pytest.approx(2 / math.sqrt(18))
    assert math.isnan(rep.row_trace(np.zeros(2), np.ones(2))[0])
