"""Shadow models of the likelihood ratio attack: one pool serves every request on the same data.

Each shadow model trains on a random half of all samples there are, training and test part, so
that every sample is in half of the models and out of the others.  Nothing in that depends on
what is forgotten: a class, a few random samples or the best known ones are attacked with the same models.
Where the training data carries a poison, patched copies of test samples are of the lot: poison that
nobody trained on, which is what forgotten poison has to look like.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcutrain.errors import OptionError
from mcutrain.evaluation import metrics
from mcutrain.evaluation.attacks import Bench
from mcutrain.evaluation.lira import Lira, halves
from mcutrain.evaluation.measure import Data, Measured, Sets, cut
from mcutrain.evaluation.retrain import Plan, Trainer
from mcutrain.evaluation.worker import write_arrays
from mcutrain.executor import Array
from mcutrain.words import counted

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

#: Seeds of shadow models start here, away from those of retrained ones.
_SHADOW_SEEDS = 100_000


@dataclass(frozen=True)
class Population:
    """The samples of which shadow models know half: training part, test samples, patched test samples."""

    data: Data
    #: rows of the test part, at most as many as there are training samples
    tests: Rows
    #: rows of the test part of which patched copies follow; none without a poison
    patched: Rows

    @classmethod
    def of(cls, data: Data, seed: int = 0) -> Population:
        """As many test samples are patched as training samples are, where other classes have that many."""

        def draw(rows: Rows, most: int, stream: int) -> Rows:
            rng = np.random.Generator(np.random.Philox((seed, stream)))
            return np.sort(rng.permutation(rows)[:most])

        tests = draw(np.arange(len(data.y_test)), len(data.y_train), 5)
        if data.poison is None:
            return cls(data, tests, tests[:0])
        others = np.flatnonzero(data.y_test != data.poison.target)
        return cls(data, tests, draw(others, len(_poison(data)), 4))

    def samples(self) -> tuple[Array, Array]:
        """All samples ``[n, …]`` and their labels ``[n]``."""
        d = self.data
        x, y = [d.x_train, d.x_test[self.tests]], [d.y_train, d.y_test[self.tests]]
        if d.poison is not None and len(self.patched):
            x.append(d.poison.stamp(d.x_test[self.patched]))
            y.append(np.full(len(self.patched), d.poison.target, d.y_train.dtype))
        return np.concatenate(x), np.concatenate(y)

    def margins(self, model: Measured) -> Floats:
        """A measured model's margins on all samples, ``[n]``."""
        logits = [model.train, model.test[self.tests]]
        if model.patched is not None:
            logits.append(model.patched[self.patched])
        return metrics.margins(np.concatenate(logits), self.samples()[1])

    def compared(self, sets: Sets) -> tuple[Rows, Rows]:
        """Samples that were forgotten, and like ones that the original never trained on.

        Those are test samples of the same classes; for forgotten poison, patched test samples.
        """
        trained = len(self.data.y_train)
        if len(self.patched) and np.isin(sets.forget, _poison(self.data)).all():
            return sets.forget, trained + len(self.tests) + np.arange(len(self.patched))
        return sets.forget, trained + np.flatnonzero(np.isin(self.tests, sets.held_out))


@dataclass(frozen=True)
class Pool:
    """What shadow models say of a population."""

    #: margins ``[models, n]``
    margins: Floats
    #: who was trained on what, ``[models, n]``
    inside: npt.NDArray[np.bool_]

    def lira(self) -> Lira:
        """The attack fitted on all models; raises OptionError for less than four."""
        return Lira.fit(self.margins, self.inside)

    def power(self) -> float:
        """Balanced accuracy with which the other models tell a shadow model's own samples, mean over models.

        What the attack can reach at best on this model and data; NaN for less than six models.
        """
        models = len(self.margins)
        if models < 6:
            return float("nan")
        found = []
        for pair in range(0, models, 2):
            others = np.setdiff1d(np.arange(models), [pair, pair + 1])
            fitted = Lira.fit(self.margins[others], self.inside[others])
            for model in (pair, pair + 1):
                own = self.inside[model]
                rows = np.flatnonzero(own), np.flatnonzero(~own)
                found.append(fitted.attack(self.margins[model], *rows)[0])
        return float(np.mean(found))


def train_pool(
    trainer: Trainer,
    bench: Bench,
    population: Population,
    models: int,
    *,
    seed: int = 0,
    folder: Path,
    on_word: Callable[[str], None] = lambda _: None,
) -> Pool:
    """The margins of ``models`` shadow models, found in ``folder`` or trained and kept there.

    A pool of fewer models is continued, one of more models serves as far as it is asked.

    Args:
        trainer: of the population's samples; it keeps the models that were trained, one by one.
        bench: reads the margins; it holds no model in particular afterwards.

    Raises:
        OptionError: ``models`` is odd or less than four.
        McutrainError: what training raises; models that were finished are kept.
    """
    check_models(models)
    x, y = population.samples()
    inside = halves(len(y), models // 2, seed)
    path = folder / f"shadows-{trainer.identity(seed)[:40]}.npz"
    known = _kept(path, inside)[:models]
    if len(known) == models:
        return Pool(known, inside)
    plans = [
        Plan(
            f"shadow model {number + 1}",
            tuple(np.flatnonzero(inside[number]).tolist()),
            _SHADOW_SEEDS + seed + number,
        )
        for number in range(len(known), models)
    ]
    rows = list(known)
    for plan, weights in zip(plans, trainer.train(plans), strict=True):
        on_word(f"measuring {plan.title}")
        bench.hold(weights)
        rows.append(metrics.margins(cut(bench.observer.outputs(x)[0]), y))
    pool = Pool(np.array(rows), inside)
    write_arrays(path, {"margins": pool.margins, "inside": pool.inside})
    return pool


def check_models(models: int) -> None:
    """Raise OptionError for a number of shadow models with which no attack can be fitted."""
    if models < 4 or models % 2:
        words = counted(models, "shadow model")
        raise OptionError(f"LiRA cannot be fitted on {words}", "give an even number of at least 4, better 48")


def _poison(data: Data) -> Rows:
    if data.poison is None:
        return np.zeros(0, np.int64)
    return data.poison.carriers(data.x_train, data.y_train)


def _kept(path: Path, inside: npt.NDArray[np.bool_]) -> Floats:
    """The margins of a kept pool that agrees with ``inside`` as far as both go; none of a damaged one."""
    none = np.zeros((0, inside.shape[1]))
    try:
        with np.load(path, allow_pickle=False) as stored:
            margins, had = np.asarray(stored["margins"], np.float64), np.asarray(stored["inside"], bool)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return none
    both = min(len(had), len(inside))
    same = margins.shape == had.shape and np.array_equal(had[:both], inside[:both])
    return margins if same and np.isfinite(margins).all() else none
