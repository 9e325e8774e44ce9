"""Per-example likelihood ratio attack (LiRA), online, with Gaussians.

Carlini et al. 2022, *Membership inference attacks from first principles*, aimed at
unlearning as Hayes et al. 2024, *Inexact unlearning needs more careful evaluations*: shadow
models train with and without each single sample, and the attack asks of every sample
which of the two an attacked model looks like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcutrain.errors import OptionError
from mcutrain.evaluation.membership import auc
from mcutrain.executor import Array

Floats = npt.NDArray[np.float64]


def halves(samples: int, pairs: int, seed: int) -> npt.NDArray[np.bool_]:
    """Who trains on what: ``[2·pairs, samples]``, true where a shadow model has the sample.

    Models come in pairs, each the complement of the other, so that every sample is in ``pairs``
    models and out of ``pairs``.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    inside = np.zeros((2 * pairs, samples), bool)
    for pair in range(pairs):
        chosen = rng.permutation(samples)[: samples // 2]
        inside[2 * pair, chosen] = True
        inside[2 * pair + 1] = ~inside[2 * pair]
    return inside


@dataclass(frozen=True)
class Lira:
    """The Gaussians of every sample, fitted on shadow models' margins."""

    mean_in: Floats
    mean_out: Floats
    deviation_in: Floats
    deviation_out: Floats

    @classmethod
    def fit(cls, margins: Array, inside: Array) -> Lira:
        """From shadow models' margins ``[models, n]`` and who had which sample ``[models, n]``.

        Deviations are fitted per sample from 16 models a side on, below that pooled over all samples.

        Raises:
            OptionError: a sample is in fewer than two models, or out of fewer than two.
        """
        m, has = np.asarray(margins, np.float64), np.asarray(inside, bool)
        if (has.sum(axis=0) < 2).any() or ((~has).sum(axis=0) < 2).any():
            raise OptionError("LiRA has too few shadow models", "train at least 2 + 2")
        sides = []
        for side in (has, ~has):
            count = side.sum(axis=0)
            mean = (m * side).sum(axis=0) / count
            square = (((m - mean) ** 2) * side).sum(axis=0) / (count - 1)
            pooled = np.full_like(square, square.mean())
            sides.append((mean, np.sqrt(np.maximum(square if count.min() >= 16 else pooled, 1e-6))))
        return cls(sides[0][0], sides[1][0], sides[0][1], sides[1][1])

    def score(self, margins: Array) -> Floats:
        """Log-likelihood ratio of "trained on it" of each sample for one model's margins ``[n]``."""
        m = np.asarray(margins, np.float64)

        def log_density(mean: Floats, deviation: Floats) -> Floats:
            return np.asarray(-0.5 * ((m - mean) / deviation) ** 2 - np.log(deviation))

        return log_density(self.mean_in, self.deviation_in) - log_density(self.mean_out, self.deviation_out)

    def attack(self, margins: Array, forgotten: Array, outsiders: Array) -> tuple[float, float]:
        """Balanced accuracy at ratio one, and AUC, of telling forgotten from never seen samples.

        Args:
            margins: of the attacked model on all samples, ``[n]``.
            forgotten: rows that the original model trained on and that were forgotten.
            outsiders: rows of like samples that it never trained on.

        Returns:
            Both are ½ for a model that never saw any of them; NaN where either are none.
        """
        if not len(forgotten) or not len(outsiders):
            return float("nan"), float("nan")
        score = self.score(margins)
        f, out = score[np.asarray(forgotten)], score[np.asarray(outsiders)]
        return 0.5 * (float((f > 0).mean()) + float((out <= 0).mean())), auc(f, out)
