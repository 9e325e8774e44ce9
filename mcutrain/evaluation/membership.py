"""Membership attacks: can the forgotten samples still be told from samples never seen?

Each attack sees only outputs of one model (RMIA: also of reference models).
``members`` are samples the attacked model surely trains on (D_r), ``outsiders`` surely not (test).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcutrain.evaluation.metrics import entropy, softmax
from mcutrain.executor import Array

Floats = npt.NDArray[np.float64]


class LogisticRegression:
    """Binary logistic regression, L2-regularised, each class weighing the same, by Newton's method.

    Minimises ``sum_i w_i log(1 + exp(-s_i (x_i·b + b0))) + ridge/2 ||b||²`` where the weights
    of each class sum to n/2.  Features are standardised first, so the ridge means the same everywhere.
    """

    def __init__(self, features: Array, positive: Array, *, ridge: float = 1.0, steps: int = 50) -> None:
        x = np.asarray(features, np.float64)
        y = np.asarray(positive, bool)
        if x.ndim == 1:
            x = x[:, None]
        self._mean = x.mean(axis=0)
        self._scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        x = self._standard(x)
        counts = np.maximum([(~y).sum(), y.sum()], 1)
        weight = len(y) / 2.0 / counts[y.astype(int)]
        penalty = np.full(x.shape[1], ridge)
        penalty[-1] = 0.0
        b = np.zeros(x.shape[1])
        for _ in range(steps):
            p = _sigmoid(x @ b)
            gradient = x.T @ (weight * (p - y)) + penalty * b
            curvature = np.maximum(weight * p * (1 - p), 1e-9)
            hessian = (x * curvature[:, None]).T @ x + np.diag(penalty + 1e-9)
            step = np.linalg.solve(hessian, gradient)
            b -= step * min(1.0, 10.0 / max(float(np.linalg.norm(step)), 1e-30))
            if float(np.abs(step).max()) < 1e-9:
                break
        self.coefficients = b

    def _standard(self, x: Floats) -> Floats:
        return np.column_stack([(x - self._mean) / self._scale, np.ones(len(x))])

    def probability(self, features: Array) -> Floats:
        """Probability of the positive class, ``[n]``."""
        x = np.asarray(features, np.float64)
        return _sigmoid(self._standard(x[:, None] if x.ndim == 1 else x) @ self.coefficients)


def _sigmoid(z: Array) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(z, np.float64))))


def entropy_attack(forgotten: Array, members: Array, outsiders: Array) -> float:
    """Share of the forgotten samples whose prediction's entropy a logistic regression takes for a member's.

    Trained on ``members`` against ``outsiders``, class-balanced: with more members than outsiders
    an unbalanced one says "member" to everything (the attack of Chundawat et al. 2023 does).
    All arguments are logits ``[n, C]``.
    """
    known = np.concatenate([entropy(members), entropy(outsiders)])
    is_member = np.arange(len(known)) < len(members)
    attack = LogisticRegression(known, is_member)
    return float((attack.probability(entropy(forgotten)) >= 0.5).mean())


def confidence_attack(
    forgotten: tuple[Array, Array], members: tuple[Array, Array], outsiders: tuple[Array, Array]
) -> float:
    """Share of the forgotten samples above a per-class threshold on the confidence p_y.

    The threshold of a class maximises ``true positives - false positives`` on members against
    outsiders of that class (Song & Mittal 2021, *Systematic evaluation of privacy risks*); a class
    that lacks either side takes the threshold over all samples.  Arguments are (logits, labels).
    """

    def confidence(part: tuple[Array, Array]) -> Floats:
        return np.asarray(softmax(part[0])[np.arange(len(part[1])), np.asarray(part[1], int)])

    c_f, c_m, c_o = confidence(forgotten), confidence(members), confidence(outsiders)
    y_f, y_m, y_o = (np.asarray(part[1], int) for part in (forgotten, members, outsiders))
    overall = best_threshold(c_m, c_o)
    taken = np.zeros(len(c_f), bool)
    for c in np.unique(y_f):
        own_m, own_o = c_m[y_m == c], c_o[y_o == c]
        threshold = best_threshold(own_m, own_o) if len(own_m) and len(own_o) else overall
        taken[y_f == c] = c_f[y_f == c] >= threshold
    return float(taken.mean())


def best_threshold(positive: Array, negative: Array) -> float:
    """The value t with the largest ``P(positive >= t) - P(negative >= t)``; the lowest of equals."""
    candidates = np.unique(np.concatenate([positive, negative]))
    p, n = np.sort(positive), np.sort(negative)
    above_p = 1.0 - np.searchsorted(p, candidates, side="left") / len(p)
    above_n = 1.0 - np.searchsorted(n, candidates, side="left") / len(n)
    return float(candidates[int(np.argmax(above_p - above_n))])


def auc(positive: Array, negative: Array) -> float:
    """Area under the ROC curve, ``P(positive > negative) + ½ P(equal)`` (Mann–Whitney)."""
    p, n = (np.asarray(v, np.float64) for v in (positive, negative))
    if not len(p) or not len(n):
        return float("nan")
    ordered = np.sort(n)
    below = np.searchsorted(ordered, p, side="left")
    upto = np.searchsorted(ordered, p, side="right")
    return float((0.5 * (below + upto)).sum() / (len(p) * len(n)))


def loss_auc(losses_forgotten: Array, losses_outsiders: Array) -> float:
    """AUC of -loss, forgotten against held-out samples of the same classes; ½ means no trace."""
    return auc(-np.asarray(losses_forgotten), -np.asarray(losses_outsiders))


def privleak(auc_unlearned: float, auc_retrained: float) -> float:
    """``(AUC_u - AUC_g) / AUC_g``: 0 is right, above is forgotten too little, below too
    eagerly (Shi et al. 2024, *MUSE*)."""
    return (auc_unlearned - auc_retrained) / auc_retrained if auc_retrained else float("nan")


def rmia(
    p_forgotten: Array,
    p_outsiders: Array,
    references_forgotten: Sequence[Array],
    references_outsiders: Sequence[Array],
    *,
    offline: float = 0.3,
) -> float:
    """AUC of the robust membership attack (Zarifzadeh et al. 2024, *Low-cost high-power MIA*).

    The score of x is the share of outsiders z with ``(p(x|u)/p(x)) / (p(z|u)/p(z)) >= 1``, where
    ``p(·|u)`` is the confidence p_y under the attacked model and ``p(·)`` its mean under reference models
    that never saw x, raised for the missing "in" half: ``½((1 + offline) p_out + 1 - offline)``.
    The share grows with ``p(x|u)/p(x)``, so the area is computed from that ratio.

    Args:
        p_forgotten, p_outsiders: p_y under the attacked model, ``[n]`` and ``[m]``.
        references_forgotten, references_outsiders: the same under each of 2 to 4 references.
    """

    def ratio(own: Array, references: Sequence[Array]) -> Floats:
        out = np.mean([np.asarray(r, np.float64) for r in references], axis=0)
        return np.asarray(np.asarray(own, np.float64) / (0.5 * ((1 + offline) * out + 1 - offline)))

    return auc(ratio(p_forgotten, references_forgotten), ratio(p_outsiders, references_outsiders))
