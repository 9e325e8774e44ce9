"""What the layers still hold: similarity to another model, recall of the forgotten from features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcutrain.executor import Array

Floats = npt.NDArray[np.float64]


def centred_gram(features: Array) -> Floats:
    """``H X Xᵀ H`` of features ``[n, d]`` (more axes are flattened), ``[n, n]``: all that CKA needs."""
    x = np.asarray(features, np.float64).reshape(len(features), -1)
    x = x - x.mean(axis=0)
    return np.asarray(x @ x.T)


def linear_cka(a: Array, b: Array) -> float:
    """Centred kernel alignment with the linear kernel, ``<K, L> / (||K|| ||L||)``, 0 to 1
    (Kornblith et al. 2019), from two :func:`centred_gram` of the same samples.

    1 is the same representation up to rotation and scale; NaN where a layer is constant.
    """
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm > 0 else float("nan")


class SoftmaxRegression:
    """Multinomial logistic regression on standardised features by accelerated gradient descent.

    Minimises ``mean_i -log p_{y_i} + ridge/2 ||W||²``; starts from zero, so it is deterministic.
    """

    def __init__(
        self, features: Array, labels: Array, classes: int, *, ridge: float = 1e-3, steps: int = 300
    ) -> None:
        x = np.asarray(features, np.float64).reshape(len(features), -1)
        self._mean = x.mean(axis=0)
        self._scale = np.where(x.std(axis=0) > 1e-9, x.std(axis=0), 1.0)
        x = self._standard(x)
        target = np.eye(classes)[np.asarray(labels, int)]
        # The Hessian of the softmax loss is at most half the features' second moment.
        smooth = 0.5 * float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) + ridge
        w = np.zeros((x.shape[1], classes))
        ahead, t = w, 1.0
        for _ in range(steps):
            z = x @ ahead
            z -= z.max(axis=1, keepdims=True)
            p = np.exp(z)
            p /= p.sum(axis=1, keepdims=True)
            new = ahead - (x.T @ (p - target) / len(x) + ridge * ahead) / smooth
            t_new = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
            ahead = new + (t - 1) / t_new * (new - w)
            w, t = new, t_new
        self.weights = w

    def _standard(self, x: Floats) -> Floats:
        return np.column_stack([(x - self._mean) / self._scale, np.ones(len(x))])

    def predict(self, features: Array) -> npt.NDArray[np.int64]:
        """The most probable class of each row."""
        x = np.asarray(features, np.float64).reshape(len(features), -1)
        return np.asarray((self._standard(x) @ self.weights).argmax(axis=1))


def probe_recall(features: Array, labels: Array, asked: Array, asked_labels: Array, classes: int) -> float:
    """Share of the ``asked`` features that a linear probe trained on ``features`` gives their label.

    The probe reads the last hidden layer (Alain & Bengio 2016): a class that only the
    classifier has lost is still found here.
    """
    if not len(asked):
        return float("nan")
    return float((SoftmaxRegression(features, labels, classes).predict(asked) == asked_labels).mean())


def neighbour_recall(
    features: Array, labels: Array, asked: Array, asked_labels: Array, classes: int, k: int = 5
) -> float:
    """Share of ``asked`` features whose k nearest ``features`` (cosine) vote for their label.

    Equal votes go to the class of the nearest neighbour among them.
    """
    if not len(asked):
        return float("nan")
    x, q = (_unit(np.asarray(v, np.float64).reshape(len(v), -1)) for v in (features, asked))
    y = np.asarray(labels, int)
    k = min(k, len(x))
    similar = q @ x.T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    hits = 0
    for row, label in zip(nearest, np.asarray(asked_labels, int), strict=True):
        votes = np.bincount(y[row], minlength=classes)
        best = votes[y[row]] == votes.max()
        hits += int(y[row][int(np.argmax(best))] == label)
    return hits / len(q)


def prototype_recall(
    features: Array, labels: Array, enrolled: Array, label: int, asked: Array, classes: int
) -> float:
    """Few-shot re-enrolment: share of ``asked`` features of class ``label`` nearest to its prototype.

    Prototypes are mean unit features: of ``enrolled`` (a few samples) for the class, of
    ``features`` for the others (Snell et al. 2017, *Prototypical networks*).
    """
    if not len(asked):
        return float("nan")
    x = _unit(np.asarray(features, np.float64).reshape(len(features), -1))
    e, q = (_unit(np.asarray(v, np.float64).reshape(len(v), -1)) for v in (enrolled, asked))
    y = np.asarray(labels, int)
    means = [e.mean(axis=0)]
    means += [x[y == c].mean(axis=0) for c in range(classes) if c != label and (y == c).any()]
    return float(((q @ _unit(np.array(means)).T).argmax(axis=1) == 0).mean())


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))


def row_trace(row: Array, original: Array) -> tuple[float, float]:
    """The classifier's row of a class against the original's: cosine, and ratio of norms.

    A concept leaves a vector in the weights that says whether it was erased or only
    hidden (Hong et al. 2024, *Intrinsic evaluation of unlearning using parametric knowledge traces*).
    """
    a, b = (np.asarray(v, np.float64).ravel() for v in (row, original))
    na, nb = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    return (float(a @ b) / (na * nb) if na and nb else float("nan")), (na / nb if nb else float("nan"))
