"""The samples of ``mcutrain unlearn``: from files to sets, and the run log that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcutrain.cli.console import errors
from mcutrain.cli.options import open_data
from mcutrain.data import Dataset, ModelShape
from mcutrain.errors import OptionError
from mcutrain.evaluation import requests as ask
from mcutrain.unlearning import Labelled, Method, Outcome, Task
from mcutrain.work import Span, Stopwatch

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.executor import Array
    from mcutrain.learning import Learner
    from mcutrain.runlog import RunLog
    from mcutrain.unlearning.certificate import Certificate


def no_log() -> OptionError:
    """Why hashes are of no use where nothing was logged."""
    return OptionError(
        "hashes name samples of a run log, and this device has none", "train with --run, or give row numbers"
    )


def open_log(build: Build, learner: Learner, weights: bool) -> RunLog | None:
    """The run log of a device that has one with runs, its state restored; None of any other device."""
    from mcutrain.runlog import RunLog

    if learner.store is None or not learner.store.facts().size or learner.rows != 1:
        return None
    log = RunLog.open(build, learner)
    for message in log.messages:
        errors().print(message, markup=False)
    if not any(run.trained for run in log.runs):
        return None
    if weights:
        raise OptionError(
            "this device has a run log, whose state --weights would replace", "leave out --weights"
        )
    log.restore()
    return log


@dataclass(frozen=True)
class Done:
    """What a method did, and the certificate of it where the request was logged."""

    outcome: Outcome
    taken: Span
    certificate: Certificate | None = None


def run(method: Method, task: Task) -> Done:
    """Run a method; where the task has a log as a logged request, certified in the build directory."""
    from mcutrain.unlearning.requests import forget

    watch = Stopwatch(task.learner.executor)
    if task.log is None or task.build is None:
        return Done(method.run(task), watch.span())
    done = forget(task.log, method, task)
    assert done.outcome is not None
    return Done(done.outcome, watch.span(), done.certificate)


@dataclass(frozen=True)
class Asked:
    """What shall be forgotten: rows of the training data, or hashes of a run log."""

    build: Build
    dataset: Dataset
    shape: ModelShape
    rows: Array
    hashes: tuple[str, ...] = ()
    #: a class that is to be forgotten wholly
    label: int | None = None

    @classmethod
    def read(
        cls,
        build: Build,
        data: str,
        limit: int | None,
        file: Path | None,
        label: int | None,
        group: str | None,
    ) -> Asked:
        """From the command line's options; raises OptionError and DataError."""
        if sum(given is not None for given in (file, label, group)) != 1:
            raise OptionError(
                "what shall be forgotten?", "give one of --forget, --forget-class, --forget-group"
            )
        dataset, shape = open_data(build, data, limit)
        samples = dataset.samples("train", shape)
        named = ask.read_file(file) if file is not None else None
        if named is not None and named.hashes:
            return cls(build, dataset, shape, named.rows, named.hashes)
        if label is not None:
            if shape.loss == "mse":
                raise OptionError("a regression has no classes", "give --forget or --forget-group")
            request = ask.by_class(np.asarray(dataset.targets("train", shape, samples)), label)
        elif group is not None:
            request = ask.by_group(dataset.groups(), group)
        else:
            assert file is not None
            assert named is not None
            request = ask.by_rows(named.rows, file.name)
        request.check(len(samples))
        return cls(build, dataset, shape, request.rows, (), label)

    def sets(
        self,
        learner: Learner,
        log: RunLog | None,
        retain: tuple[str, ...],
        guard: str | None,
        validation: str | None,
    ) -> Sets:
        """The sets of a task; what the log says was forgotten, or never trained, is no retained sample."""
        x, y = self.dataset.part("train", self.shape)
        rows, samples = self.rows, []
        kept = np.setdiff1d(np.arange(len(x)), rows)
        if log is not None:
            known = log.sample_hashes(x, y)
            samples = self._samples(log) or [known[row] for row in rows]
            # a sample that is there twice is forgotten, and not retained, wherever it is
            wanted = set(samples)
            rows = np.array([row for row in range(len(x)) if known[row] in wanted], np.int64)
            kept = np.setdiff1d(kept, rows)
            trained = {sample for run in log.runs if run.trained for sample in run.hashes}
            kept = np.array(
                [r for r in kept if known[r] in trained and not log.forgotten(known[r])], np.int64
            )
        elif self.hashes:
            raise no_log()
        held_out = self._pair(validation) if validation else None
        if held_out is None and "x_test" in self.dataset.arrays:
            held_out = self.dataset.part("test", self.shape)
        return Sets(
            (x[rows], y[rows]),
            self._retained(retain, (x[kept], y[kept]) if len(kept) else None),
            self._pair(guard) if guard else None,
            held_out,
            _without(held_out, self.label),
            tuple(samples),
        )

    def _samples(self, log: RunLog) -> list[bytes]:
        from mcutrain.unlearning.requests import select

        return select(log, self.hashes) if self.hashes else []

    def _retained(self, sources: tuple[str, ...], rest: Labelled | None) -> Labelled | None:
        if "none" in sources and len(sources) > 1:
            raise OptionError("--retain none leaves no room for another --retain", "give one of them")
        pairs = [rest if source == "rest" else self._pair(source) for source in sources if source != "none"]
        found = [pair for pair in pairs if pair is not None]
        if len(found) < 2:
            return found[0] if found else None
        x, y = (np.concatenate([np.asarray(pair[i]) for pair in found]) for i in (0, 1))
        return x, y

    def _pair(self, source: str) -> Labelled:
        dataset, shape = open_data(self.build, source)
        return dataset.part("train" if "x_train" in dataset.arrays else "test", shape)


@dataclass(frozen=True)
class Sets:
    """The sets of a task."""

    forget: Labelled
    retain: Labelled | None
    guard: Labelled | None
    validation: Labelled | None
    #: what to score for people: the validation set, without a class that is to be forgotten
    tested: Labelled | None
    #: hashes of the samples to forget, by the run log
    samples: tuple[bytes, ...]

    def task(
        self,
        learner: Learner,
        build: Build,
        log: RunLog | None,
        variant: str,
        options: tuple[str, ...],
        seed: int,
    ) -> Task:
        """The task with ``NAME=VALUE`` options; raises OptionError."""
        given = {}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise OptionError(f"-O {option} has no value", "give -O NAME=VALUE")
            given[name] = value
        return Task(
            learner,
            self.forget,
            self.retain,
            self.guard,
            self.validation,
            variant=variant,
            options=given,
            seed=seed,
            build=build,
            log=log,
            samples=self.samples,
        )


def _without(pair: Labelled | None, label: int | None) -> Labelled | None:
    if pair is None or label is None:
        return pair
    others = np.flatnonzero(np.asarray(pair[1]).ravel() != label)
    return (pair[0][others], pair[1][others]) if len(others) else None
