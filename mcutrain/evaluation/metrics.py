"""Measures of a model's outputs: accuracy, regression error, distance to retrained models.

Everything works on arrays: ``logits`` and ``probabilities`` are ``[n, C]``, ``labels``
``[n]``; computation is float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mcutrain.executor import Array

Floats = npt.NDArray[np.float64]

#: Keeps logarithms finite; far below any probability that float32 logits give.
TINY = 1e-300


def log_softmax(logits: Array) -> Floats:
    """Row-wise ``z - log sum exp z``."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def softmax(logits: Array) -> Floats:
    """Row-wise probabilities."""
    return np.asarray(np.exp(log_softmax(logits)))


def losses(logits: Array, labels: Array) -> Floats:
    """Cross-entropy of each sample, ``-log p_y``, ``[n]``."""
    return np.asarray(-log_softmax(logits)[np.arange(len(labels)), np.asarray(labels, int)])


def entropy(logits: Array) -> Floats:
    """Shannon entropy of each prediction in nats, ``[n]``."""
    log_p = log_softmax(logits)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=1))


def margins(logits: Array, labels: Array) -> Floats:
    """``log p_y - log(1 - p_y)`` of each sample, ``[n]``: the logit-scaled confidence, about Gaussian
    over retrainings (Carlini et al. 2022, *Membership inference attacks from first principles*).

    Computed from logits, so that a confident model does not lose its digits.
    """
    z = np.asarray(logits, np.float64)
    rows = np.arange(len(z))
    y = np.asarray(labels, int)
    others = z.copy()
    others[rows, y] = -np.inf
    top = others.max(axis=1)
    rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
    return np.asarray(z[rows, y] - rest)


def accuracy(logits: Array, labels: Array) -> float:
    """Share of samples whose largest logit is the label's; NaN without samples."""
    if not len(labels):
        return float("nan")
    return float((np.asarray(logits).argmax(axis=1) == np.asarray(labels)).mean())


def accuracy_by_class(logits: Array, labels: Array, classes: int) -> Floats:
    """Recall of each class, ``[C]``; NaN where a class has no sample."""
    hit = np.asarray(logits).argmax(axis=1) == np.asarray(labels)
    return np.array([hit[labels == c].mean() if (labels == c).any() else np.nan for c in range(classes)])


def mean_absolute_error(outputs: Array, targets: Array) -> float:
    """Mean of ``|f(x) - y|`` over samples and outputs."""
    return float(np.abs(np.asarray(outputs, np.float64) - np.asarray(targets, np.float64)).mean())


def wasserstein1(a: Array, b: Array) -> float:
    """First Wasserstein distance of two empirical distributions of numbers:
    the area between their distribution functions, ``∫|F_a(t) - F_b(t)| dt``.

    Deep regression unlearning compares predictions on the forgotten data this way
    (Tarun et al. 2023).  Arrays of any shape are taken as bags of numbers.
    """
    x, y = (np.sort(np.asarray(v, np.float64).ravel()) for v in (a, b))
    points = np.sort(np.concatenate([x, y]))
    f = np.searchsorted(x, points[:-1], side="right") / len(x)
    g = np.searchsorted(y, points[:-1], side="right") / len(y)
    return float((np.abs(f - g) * np.diff(points)).sum())


def kl_divergence(p: Array, q: Array) -> float:
    """Mean over samples of ``KL(p || q) = sum_c p_c (log p_c - log q_c)`` in nats, from probabilities.

    With p of the retrained and q of the unlearned model: what a wrong model costs (Golatkar et al. 2020).
    """
    a, b = (np.asarray(v, np.float64) for v in (p, q))
    terms = np.where(a > 0, a * (np.log(np.maximum(a, TINY)) - np.log(np.maximum(b, TINY))), 0.0)
    return float(terms.sum(axis=1).mean())


def jensen_shannon(p: Array, q: Array) -> Floats:
    """Jensen–Shannon divergence of each pair of rows in bits, ``[n]``, 0 to 1:
    ``½ KL(p || m) + ½ KL(q || m)`` with ``m = ½ (p + q)``."""
    a, b = (np.asarray(v, np.float64) for v in (p, q))
    m = 0.5 * (a + b)

    def half(v: Floats) -> Floats:
        ratio = np.maximum(v, TINY) / np.maximum(m, TINY)
        return np.asarray(np.where(v > 0, v * np.log2(ratio), 0.0).sum(axis=1))

    return 0.5 * half(a) + 0.5 * half(b)


def zrf(unlearned: Array, incompetent: Array) -> float:
    """Zero retrain forgetting score, ``1 - mean JS(p_unlearned, p_incompetent)``, 0 to 1, on D_f.

    Near 1 the model is as clueless as one with random weights; what is right is the value
    of a retrained model (Chundawat et al. 2023, *Can bad teaching induce forgetting?*, whose
    code computes only half of the divergence; this is the whole).
    """
    return float(1.0 - jensen_shannon(unlearned, incompetent).mean())


def activation_distance(p: Array, q: Array) -> float:
    """Mean Euclidean distance of the two models' probabilities (Golatkar et al. 2021)."""
    return float(np.linalg.norm(np.asarray(p, np.float64) - np.asarray(q, np.float64), axis=1).mean())


def klom(margins_unlearned: Array, margins_retrained: Array, *, floor: float = 1e-3) -> float:
    """KL of margins, ``mean_x KL(N_u(x) || N_g(x))`` with one Gaussian a sample and a side, in nats.

    After Georgiev et al. 2024, *Attribute-to-delete*, with Gaussians in place of
    histograms, as three retrained models fill none.  A sample's variance is the mean of its own
    and the variance pooled over all samples; a side with one model takes the other's.

    Args:
        margins_unlearned: ``[models, n]``, see :func:`margins`.
        margins_retrained: ``[models, n]``, at least two models.
        floor: smallest standard deviation.
    """
    u, g = (np.asarray(v, np.float64) for v in (margins_unlearned, margins_retrained))
    if len(g) < 2:
        return float("nan")
    own_g = g.var(axis=0, ddof=1)
    var_g = np.maximum(0.5 * (own_g + own_g.mean()), floor**2)
    if len(u) > 1:
        own_u = u.var(axis=0, ddof=1)
        var_u = np.maximum(0.5 * (own_u + own_u.mean()), floor**2)
    else:
        var_u = var_g
    shift = u.mean(axis=0) - g.mean(axis=0)
    return float((0.5 * (np.log(var_g / var_u) + (var_u + shift**2) / var_g - 1.0)).mean())


def weight_distance(a: Mapping[str, Array], b: Mapping[str, Array]) -> dict[str, float]:
    """Relative distance of each parameter, ``||a - b|| / ||b||``, by name; absolute where b is zero."""
    distances = {}
    for name, reference in b.items():
        r = np.asarray(reference, np.float64).ravel()
        norm = float(np.linalg.norm(r))
        distances[name] = float(np.linalg.norm(np.asarray(a[name], np.float64).ravel() - r)) / (norm or 1.0)
    return distances


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the largest distance of one value to the mean of the others (0 for a single value).

    Over retrained models the spread is the noise floor: what differs although nothing was forgotten.
    """
    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    if not len(v):
        return float("nan"), float("nan")
    if len(v) == 1:
        return float(v[0]), 0.0
    others = (v.sum() - v) / (len(v) - 1)
    return float(v.mean()), float(np.abs(v - others).max())
