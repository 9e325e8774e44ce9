"""Devices that have the history an exact method goes back on, made for an evaluation.

``rollback`` needs training in logged runs, with a store; ``analytic-head:subtract`` a
head that has counted its samples.  Each is given what the evaluation's schedule makes
of its data, and beside it the control: the same without the samples, by which its
claim is settled bit for bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcutrain.build import Build
from mcutrain.errors import OptionError
from mcutrain.evaluation.measure import Data
from mcutrain.evaluation.observe import read_parameters
from mcutrain.evaluation.schedule import Schedule
from mcutrain.executor import Array
from mcutrain.learning import Learner

if TYPE_CHECKING:
    from mcutrain.unlearning import Method, Outcome, Task

Weights = Mapping[str, Array]
CERTIFICATES = "certificates.jsonl"


@dataclass(frozen=True)
class Stage:
    """A learner that holds the original with its history."""

    learner: Learner
    #: forget one request; None when nothing was left to forget
    forget: Callable[[Task], Outcome | None]
    #: weights of the same history without the samples; None where there are none to compare bits with
    control: Callable[[], Weights | None] = lambda: None


@dataclass(frozen=True)
class Past:
    """What made the original."""

    #: native
    build: Build
    data: Data
    schedule: Schedule
    seed: int
    #: rows that a retrained model lacks
    lacking: Array
    #: weights that training started from, those of the build when None
    start: Weights | None
    original: Weights

    def stage(self, method: Method, variant: str, options: Mapping[str, Any], learner: Learner) -> Any:
        """A context in which ``method`` finds what it needs; ``learner`` holds the original.

        Raises:
            OptionError: the history cannot be had.
        """
        kind = method.history(variant)
        if kind == "runs":
            return _logged(self)
        if kind == "head":
            return _counted(self, method, variant, options, learner)
        return _plain(method, learner)

    def blanked(self) -> tuple[Array, Array]:
        """The training data with zeros where the samples were: what trains on it cannot see them."""
        x, y = np.array(self.data.x_train), np.array(self.data.y_train)
        x[self.lacking] = 0
        y[self.lacking] = 0
        return x, y


@contextmanager
def _plain(method: Method, learner: Learner) -> Iterator[Stage]:
    yield Stage(learner, method.run)


# ---- logged runs


@contextmanager
def _logged(past: Past) -> Iterator[Stage]:
    """A device of its own with a store of its own, on which every phase of the schedule is a logged run."""
    from mcutrain.runlog import RunLog
    from mcutrain.unlearning import find_method
    from mcutrain.unlearning.requests import forget

    with tempfile.TemporaryDirectory(prefix="mcutrain-history-") as folder:
        build = Build(past.build.directory, past.build.manifest, state=Path(folder))
        with build.session(workers=1, store=True) as learner:
            if past.start is not None:
                learner.load(past.start)
            log = RunLog.open(build, learner)
            for number, options in enumerate(past.schedule.runs(past.seed), start=1):
                log.record_run(f"phase {number}", past.data.x_train, past.data.y_train, **options)
            # A new run begins with a new optimizer, so only a single phase has the original's very bits.
            if len(past.schedule.phases) == 1 and not _same(read_parameters(learner), past.original):
                raise OptionError(
                    "rollback goes back through the runs that trained a model, and the schedule does not"
                    " give these weights",
                    "leave out --weights, or describe how the model was trained",
                )

            def run(task: Task) -> Outcome | None:
                given = replace(task, learner=learner, log=log)
                done = forget(
                    log,
                    find_method("rollback"),
                    given,
                    build=build,
                    certificates=Path(folder, CERTIFICATES),
                )
                return done.outcome

            yield Stage(learner, run, lambda: _retrained(past))


def _retrained(past: Past) -> Weights:
    """Trained from the start without the samples, by a device that has no store."""
    from mcutrain.requestlog import reset_optimizer

    x, y = past.blanked()
    with past.build.session(workers=1, store=False) as learner:
        if past.start is not None:
            learner.load(past.start)
        for options in past.schedule.runs(past.seed):
            reset_optimizer(learner)
            learner.train(x, y, **options, exclude=past.lacking.tolist())
        return read_parameters(learner)


# ---- an analytic head


@contextmanager
def _counted(
    past: Past, method: Method, variant: str, options: Mapping[str, Any], learner: Learner
) -> Iterator[Stage]:
    """The original with a head that has counted all of the training data."""
    from mcutrain.unlearning import Task
    from mcutrain.unlearning.analytic_head import AnalyticHead, layers_below

    x, y = past.data.x_train, past.data.y_train
    task = Task(learner, (x[:1], y[:1]), variant=variant, options=dict(options))
    method.check_build(task)
    ridge = float(method.settings(task)["ridge"])  # type: ignore[arg-type]
    _learn_head(AnalyticHead(learner), x, y, ridge)

    def control() -> Weights | None:
        if layers_below(learner.manifest):
            return None  # they have learned from the samples, and that stays
        keep = np.setdiff1d(np.arange(len(x)), past.lacking)
        with past.build.session(workers=1, store=False) as fresh:
            if past.start is not None:
                fresh.load(past.start)
            _learn_head(AnalyticHead(fresh), x[keep], y[keep], ridge)
            return read_parameters(fresh)

    yield Stage(learner, method.run, control)


def _learn_head(head: Any, x: Array, y: Array, ridge: float) -> None:
    samples, targets = head.learner.training_set(x, y)
    head.calibrate(samples, targets)
    head.learn(samples, targets)
    head.solve(ridge)
    head.clear_features()


def _same(a: Weights, b: Weights) -> bool:
    return all(np.array_equal(a[name].view(np.uint32), b[name].view(np.uint32)) for name in a)
