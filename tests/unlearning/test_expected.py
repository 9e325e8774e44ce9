"""What a rollback is told to take, on a device whose clock is made up: it follows work, and speed of now."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcutrain
from mcutrain.build import Build
from mcutrain.executor import Array, Executor
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Cost, Task, find_method
from mcutrain.unlearning.expected import _between
from mcutrain.unlearning.requests import forget
from mcutrain.work import Stopwatch, Tally, Work

RUNS, SIZE, BATCH = 3, 20, 4
#: Seconds that a sample, and any other Program, takes a device at its usual speed.
SAMPLE, OTHER = 0.004, 0.001


class Clock:
    """Seconds that pass when a device works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Clocked:
    """An executor as a device that counts its work, on a clock of its own."""

    def __init__(self, executor: Executor, clock: Clock, rate: int, link: float = 0.0) -> None:
        self._executor, self._clock, self._rate = executor, clock, rate
        self._counts: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._waited: Counter[str] = Counter()
        #: seconds that the link takes for a Program
        self.link = link
        #: how many times slower than usual the device is, and by what share of that it is so at random
        self.slowness, self.noise = 1.0, 0.0
        self._chance = random.Random(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    @property
    def samples(self) -> int:
        return self._counts["train_step"]

    def run(
        self,
        program: str,
        inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        usual = SAMPLE if program == "train_step" else OTHER
        taken = usual * self.slowness * (1 + self.noise * self._chance.random())
        self._counts[program] += 1
        self._seconds[program] += taken
        self._waited[program] += taken + self.link
        self._clock.now += taken + self.link
        return self._executor.run(program, inputs, outputs, calls)

    def write(self, tensors: Mapping[str, Array]) -> None:
        self._counts["write"] += 1
        self._seconds["write"] += OTHER * self.slowness
        self._clock.now += OTHER * self.slowness
        self._executor.write(tensors)

    def work(self) -> Work:
        scale = self._rate or 1e9
        tallies = {n: Tally(self._counts[n], round(s * scale)) for n, s in self._seconds.items()}
        memory = tallies.pop("write", Tally())
        return Work(self._rate, memory, programs=tallies, waited=dict(self._waited))


@pytest.fixture
def build(dense_model: Path, tmp_path: Path) -> Build:
    return mcutrain.compile(
        dense_model, loss="cross-entropy", momentum=True, precision="mixed", out=tmp_path / "build"
    )


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((SIZE, 64)).astype(np.float32), np.arange(SIZE) % 10


@contextmanager
def trained(
    build: Build, monkeypatch: pytest.MonkeyPatch, rate: int = 1_000_000, link: float = 0.0
) -> Iterator[tuple[RunLog, Clocked]]:
    """A log of runs on a device with a made-up clock."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    with build.reference(store=True) as learner:
        device = Clocked(learner.executor, clock, rate, link)
        learner.executor = device  # type: ignore[assignment]
        log = RunLog.open(build, learner)
        for run in range(RUNS):
            log.record_run(f"run {run}", *samples(run), batch=BATCH, epochs=2, momentum=0.5, seed=run)
        yield log, device


def told(log: RunLog, rows: Sequence[int], run: int) -> Cost:
    x, y = samples(run)
    chosen = (x[list(rows)], y[list(rows)])
    return find_method("rollback").cost(Task(log.learner, chosen, log=log))


def everything() -> tuple[np.ndarray, np.ndarray]:
    x, y = zip(*(samples(run) for run in range(RUNS)), strict=True)
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_follows_the_device(
    build: Build, monkeypatch: pytest.MonkeyPatch, slowness: float, noise: float
) -> None:
    """Which is another time as fast as it was in the log's runs."""
    method = find_method("rollback")
    with trained(build, monkeypatch) as (log, device):
        usual = told(log, [3], 1)
        device.slowness, device.noise = slowness, noise
        x, y = samples(1)
        task = Task(log.learner, (x[3:4], y[3:4]), everything(), log=log)
        cost = method.cost(task)
        watch = Stopwatch(device)
        forget(log, method, task)
        taken = watch.span()
        assert cost.ticks == pytest.approx(taken.ticks, rel=0.03)
        assert cost.seconds == pytest.approx(taken.seconds, rel=0.03)
        assert taken.ticks > 0.9 * slowness * (usual.ticks or 0)


def test_cost_follows_what_there_is_to_do(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less to train again, or fewer runs, is told to take less; told twice, it is the same."""
    with trained(build, monkeypatch) as (log, _):
        early, late = told(log, [3], 0), told(log, [3], 2)
        assert (early.ticks or 0) > 2 * (late.ticks or 0) > 0
        assert (early.seconds or 0) > 2 * (late.seconds or 0) > 0
        again = told(log, [3], 0)
        assert again.ticks == pytest.approx(early.ticks, rel=1e-6)
        assert 0 < (told(log, range(1, SIZE), 0).ticks or 0) < (early.ticks or 0)
        # what one run took by chance does not count
        log.runs[1] = replace(log.runs[1], sample_ticks=1e9, sample_seconds=1e3)
        assert told(log, [3], 0).ticks == pytest.approx(early.ticks, rel=1e-6)


@pytest.mark.parametrize("reason", ["cycles", "slow samples", "slow link", "no samples at hand"])
def test_what_is_not_timed_is_told_by_the_log(
    build: Build, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """Cycles are what they were; a device that is slow is not kept busy only to tell what it will take."""
    if reason == "slow samples":
        monkeypatch.setattr("test_expected.SAMPLE", 0.2)
    rate, link = 0 if reason == "cycles" else 1_000_000, 0.2 if reason == "slow link" else 0.0
    with trained(build, monkeypatch, rate, link) as (log, device):
        held = tuple(log.sample_hashes(*samples(1))[3:4])
        nothing = tuple(part[:0] for part in samples(1))
        rows: Any = nothing if reason == "no samples at hand" else samples(1)
        task = Task(log.learner, rows, log=log, samples=held)
        before, usual = device.samples, find_method("rollback").cost(task)
        device.slowness = 3.0
        assert find_method("rollback").cost(task) == usual
        assert device.samples == before
        assert (usual.ticks or 0) > 0
        assert usual.rate == log.meter.rate


def test_telling_leaves_all_as_it_was(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with trained(build, monkeypatch) as (log, device):
        lasting = [t.name for t in log.manifest.tensors if t.kind in ("parameter", "state")]
        log.learner.accumulate(*log.learner.training_set(*samples(0)), range(BATCH))
        log.learner.apply(0.01, BATCH, 0.5)
        before, count = log.learner.executor.read(lasting), device.samples
        told(log, [3], 1)
        assert device.samples > count
        after = log.learner.executor.read(lasting)
        for name in lasting:
            assert after[name].tobytes() == before[name].tobytes(), name
        assert any(name.endswith(".gradient") and not before[name].any() for name in lasting)


def test_what_scatters_counts_less() -> None:
    assert _between(1.0, [2.0] * 9) == 2.0
    assert _between(0.0, [0.0] * 3) == 0.0
    near = _between(1.0, [1.09, 1.1, 1.11] * 4)
    assert 1.09 < near < 1.1
    far = _between(1.0, [0.5, 1.1, 1.7] * 4)
    assert 1.0 < far < 1.01
    assert far < _between(1.0, [0.5, 1.1, 1.7] * 400) < near
