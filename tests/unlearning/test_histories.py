"""Runs, interruptions, requests and restarts in any order: the bits of never having seen what is gone."""

from __future__ import annotations

import os
import random
import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rollback import compiled, opened

from mcutrain.build import Build
from mcutrain.learning import Learner
from mcutrain.requestlog import reset_optimizer
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.recheck import weights_hash
from mcutrain.unlearning.requests import forget

POOL = 20
X = np.random.default_rng(5).random((POOL, 64)).astype(np.float32)
Y = np.arange(POOL) % 10


@dataclass
class Run:
    """A run as the test remembers it."""

    rows: list[int]
    options: dict[str, Any]
    done: int
    #: rows forgotten since
    gone: set[int] = field(default_factory=set)


def trained_without(learner: Learner, runs: list[Run]) -> str:
    """Hash of the weights after all runs, each without what has been forgotten of it."""
    for run in runs:
        reset_optimizer(learner)
        options, step = run.options, 0
        rng = np.random.Generator(np.random.Philox(options["seed"]))
        held = learner.training_set(X[run.rows], Y[run.rows])
        for _ in range(options["epochs"]):
            order = rng.permutation(len(run.rows))
            for start in range(0, len(order), options["batch"]):
                batch = order[start : start + options["batch"]]
                chosen = [i for i in batch if run.rows[i] not in run.gone]
                if step < run.done and chosen:
                    learner.accumulate(*held, chosen)
                    learner.apply(options["lr"], len(chosen), options["momentum"])
                step += 1
    return weights_hash(learner)


class History:
    """A device under test and what should be true of it."""

    def __init__(self, build: Build, executor: str, chance: random.Random) -> None:
        self.build, self.executor, self.chance = build, executor, chance
        self.runs: list[Run] = []
        self.stack = ExitStack()
        self.log: RunLog = self.stack.enter_context(opened(build, executor))

    def restart(self) -> None:
        self.stack.close()
        self.log = self.stack.enter_context(opened(self.build, self.executor))
        assert self.log.messages == []

    def train(self) -> None:
        chance = self.chance
        options = {
            "epochs": chance.choice((1, 2)),
            "lr": 0.05,
            "batch": chance.choice((1, 2, 3)),
            "momentum": chance.choice((0.0, 0.9)),
            "seed": chance.randrange(100),
        }
        rows = chance.sample(range(POOL), chance.randrange(3, 8))
        steps = options["epochs"] * -(-len(rows) // options["batch"])
        stop = chance.randrange(1, steps) if steps > 1 and chance.random() < 0.4 else 0
        run = Run(rows, options, stop or steps)
        self.record(run, f"run {len(self.runs)}", stop, False)
        self.runs.append(run)

    def resume(self) -> None:
        if not self.runs or self.log.runs[-1].status != "interrupted":
            return
        run = self.runs[-1]
        run.done = run.options["epochs"] * -(-len(run.rows) // run.options["batch"])
        self.record(run, f"run {len(self.runs) - 1}", 0, True)

    def record(self, run: Run, name: str, stop: int, resume: bool) -> None:
        count = 0

        def on_event(event: Any) -> None:
            nonlocal count
            count += hasattr(event, "step")
            if hasattr(event, "step") and count == stop:
                os.kill(os.getpid(), signal.SIGINT)

        data = (X, Y) if resume else (X[run.rows], Y[run.rows])
        budget = 4 * self.log.snapshot_size()
        more = {"resume": resume, "allow_forgotten": True, "budget": budget, "on_event": on_event}
        if stop:
            with pytest.raises(KeyboardInterrupt):
                self.log.record_run(name, *data, **run.options, **more)
        else:
            self.log.record_run(name, *data, **run.options, **more)

    def forget(self) -> None:
        held = sorted({row for run in self.runs for row in set(run.rows) - run.gone})
        if not held:
            return
        gone = self.chance.sample(held, min(len(held), self.chance.randrange(1, 4)))
        task = Task(self.log.learner, (X[gone], Y[gone]), (X, Y), log=self.log)
        cost = find_method("rollback").cost(task)
        done = forget(self.log, find_method("rollback"), task)
        for run in self.runs:
            run.gone |= set(gone) & set(run.rows)
        assert done.forgotten == len(gone)
        assert done.outcome is not None
        assert done.outcome.streamed.gradient == cost.streamed.gradient
        assert done.outcome.steps == cost.steps

    def check(self) -> None:
        with self.build.reference(store=False) as learner:
            assert self.log.weights_hash() == trained_without(learner, self.runs)
        assert len(self.log.snapshots()) <= 4
        hashes = self.log.sample_hashes(X, Y)
        for row, sample in enumerate(hashes):
            seen = [run for run in self.runs if row in run.rows]
            assert self.log.contains(sample) == bool(seen)
            assert self.log.forgotten(sample) == (bool(seen) and all(row in run.gone for run in seen))


@pytest.mark.parametrize("executor", ["native", "reference"])
@pytest.mark.parametrize("seed", range(4))
def test_any_history(dense_model: Path, tmp_path: Path, executor: str, seed: int) -> None:
    chance = random.Random(seed)
    history = History(compiled(dense_model, tmp_path), executor, chance)
    with history.stack:
        history.train()
        actions = [history.train, history.resume, history.forget, history.restart]
        weights = [2, 1, 2, 1]
        for _ in range(9):
            chance.choices(actions, weights)[0]()
            history.check()
