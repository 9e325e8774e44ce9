"""The run log: what it keeps of training, how it goes on after an interruption, what it refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, node

import mcutrain
from mcutrain.build import Build
from mcutrain.cli.main import main
from mcutrain.errors import DataError, DivergedError, OptionError, SimulatorError, StoreError
from mcutrain.events import StepEvent
from mcutrain.hoststore import HostStore
from mcutrain.runlog import RunLog
from mcutrain.runrecords import thinned
from mcutrain.simulators import flash
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.requests import forget

OPTIONS: dict[str, Any] = {"epochs": 2, "lr": 0.1, "batch": 3, "momentum": 0.9}
EXECUTORS = ["native", "reference"]


def samples(seed: int, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 64)).astype(np.float32), rng.integers(0, 10, count)


@pytest.fixture
def build(dense_model: Path, tmp_path: Path) -> Build:
    return mcutrain.compile(
        dense_model, target="native", loss="cross-entropy", momentum=True, out=tmp_path / "build"
    )


@contextmanager
def opened(build: Build, executor: str) -> Iterator[RunLog]:
    with build.reference(store=True) if executor == "reference" else build.session(store=True) as learner:
        yield RunLog.open(build, learner)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_run_is_plain_training_that_survives(build: Build, executor: str) -> None:
    """Two runs give the bits of training twice with a new optimizer, and a restart finds them."""
    with build.reference() as plain:
        for seed in (1, 2):
            plain.train(*samples(seed), seed=seed, **OPTIONS)
            plain.executor.write(
                {n: np.zeros_like(a) for n, a in plain.snapshot().items() if n.endswith("momentum")}
            )
            plain.executor.write({"good_steps": np.zeros(1, np.int32)})
        wanted = plain.weights()
    with opened(build, executor) as log:
        for seed in (1, 2):
            log.record_run(f"run {seed}", *samples(seed), seed=seed, **OPTIONS)
        after = log.weights_hash()
        assert after == log.runs[1].weights
    with opened(build, executor) as log:
        assert log.weights_hash() == after
        assert all(np.array_equal(log.learner.weights()[name], array) for name, array in wanted.items())
        assert [(run.name, run.status, run.done) for run in log.runs] == [
            ("run 1", "complete", 8),
            ("run 2", "complete", 8),
        ]
        assert log.snapshots() == [1, 2]
        assert log.messages == []
        hashes = log.sample_hashes(*samples(2))
        assert log.runs[1].hashes == tuple(hashes)
        assert log.contains(hashes[0])
        assert not log.contains(log.sample_hashes(*samples(3))[0])


def test_device_and_reference_agree(build: Build) -> None:
    hashes = []
    for executor in EXECUTORS:
        with opened(build, executor) as log:
            log.record_run("one", *samples(1), **OPTIONS)
            hashes.append(log.weights_hash())
    assert hashes[0] == hashes[1]


def test_the_salt_differs_between_devices(build: Build) -> None:
    with opened(build, "native") as a, opened(build, "reference") as b:
        assert a.sample_hashes(*samples(1)) != b.sample_hashes(*samples(1))
        x, y = samples(1)
        assert a.sample_hashes(x, y)[0] != a.sample_hashes(x, (y + 1) % 10)[0]


def test_names_are_used_once(build: Build) -> None:
    with opened(build, "native") as log:
        log.record_run("one", *samples(1), **OPTIONS)
        with pytest.raises(OptionError, match="a run 'one' already"):
            log.record_run("one", *samples(2), **OPTIONS)
        with pytest.raises(OptionError, match="no interrupted run 'one' to resume"):
            log.record_run("one", *samples(1), resume=True, **OPTIONS)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_interrupted_run_goes_on(build: Build, tmp_path: Path, executor: str) -> None:
    """Ctrl-C in the middle, a restart, and the rest: the bits of a run that was never stopped."""

    def stop(event: object) -> None:
        if isinstance(event, StepEvent) and (event.epoch, event.step) == (2, 2):
            os.kill(os.getpid(), signal.SIGINT)

    with opened(build, executor) as log:
        with pytest.raises(KeyboardInterrupt):
            log.record_run("one", *samples(1), on_event=stop, **OPTIONS)
        middle = log.weights_hash()
        assert (log.runs[0].status, log.runs[0].done, log.runs[0].weights) == ("interrupted", 6, middle)
    with opened(build, executor) as log:
        assert log.weights_hash() == middle
        with pytest.raises(OptionError, match="begun with "):
            log.record_run("one", *samples(1), resume=True, **{**OPTIONS, "lr": 0.2})
        with pytest.raises(DataError, match="the data lacks 10 samples of 10 in run 'one'"):
            log.record_run("one", *samples(9), resume=True, **OPTIONS)
        log.record_run("one", *samples(1), resume=True, **OPTIONS)
        assert log.runs[0].status == "complete"
        after = log.weights_hash()
    whole = mcutrain.compile(
        build.model_path, target="native", loss="cross-entropy", momentum=True, out=tmp_path / "whole"
    )
    with opened(whole, "reference") as log:
        log.record_run("one", *samples(1), **OPTIONS)
        assert log.weights_hash() == after


def test_a_divergence_leaves_the_state_before(build: Build) -> None:
    with opened(build, "native") as log:
        log.record_run("one", *samples(1), **OPTIONS)
        before = log.weights_hash()
        with pytest.raises(DivergedError):
            log.record_run("two", *samples(2), **{**OPTIONS, "lr": 1e5, "epochs": 20})
        assert log.runs[1].status == "diverged"
        assert log.weights_hash() == before
        assert not log.contains(log.sample_hashes(*samples(2))[0])
        log.record_run("two", *samples(2), **OPTIONS)
    with opened(build, "native") as log:
        assert [run.status for run in log.runs] == ["complete", "diverged", "complete"]


def test_power_lost_in_a_run_is_told(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(build, "native") as log:
        log.record_run("one", *samples(1), **OPTIONS)
        before = log.weights_hash()

    def cut(event: object) -> None:
        log.learner.executor._transport.process.end()  # type: ignore[attr-defined]

    with opened(build, "native") as log, pytest.raises(SimulatorError):
        log.record_run("two", *samples(2), on_event=cut, **OPTIONS)
    with opened(build, "native") as log:
        assert log.messages == ["run 'two' ended with the power: the model is as it was before it"]
        assert log.weights_hash() == before
        assert log.runs[1].status == "lost"
    with opened(build, "native") as log:
        assert log.messages == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_copy_is_compared(build: Build, executor: str) -> None:
    with opened(build, executor) as log:
        log.record_run("one", *samples(1), **OPTIONS)
    path = build.state_folder / ("log.json" if executor == "native" else "reference.json")
    text = path.read_text()
    copy = json.loads(text)
    assert copy["runs"][0]["name"] == "one"
    path.write_text(text.replace('"one"', '"two"'))
    with pytest.raises(StoreError, match="differ — the copy was changed"), opened(build, executor):
        pass
    path.write_text(json.dumps({**copy, "sequence": copy["sequence"] + 1}))
    with pytest.raises(StoreError, match="the store is older than its copy"), opened(build, executor):
        pass
    path.write_text("{")
    with pytest.raises(StoreError, match=r"json is damaged"), opened(build, executor):
        pass
    path.unlink()
    with opened(build, executor):
        assert json.loads(path.read_text()) == copy


@pytest.mark.parametrize(
    ("entry", "reason"), [("state", "the state of the model"), ("run/1", "runs of the log")]
)
def test_damaged_flash_is_not_gone_on_with(build: Build, entry: str, reason: str) -> None:
    with opened(build, "native") as log:
        for seed in (1, 2):
            log.record_run(f"run {seed}", *samples(seed), **OPTIONS)
        log.store.begin()
        log.store.commit(purge=True)
        part = log.store.read(entry)[-200:]
    flash = build.state_folder / "flash.bin"
    contents = bytearray(flash.read_bytes())
    contents[contents.rindex(part)] ^= 1
    flash.write_bytes(contents)
    with pytest.raises(StoreError, match=f"is damaged: its store has lost {reason}"), opened(build, "native"):
        pass


def test_snapshots_stay_in_their_budget(build: Build) -> None:
    with opened(build, "native") as log:
        size = log.snapshot_size()
        with pytest.raises(StoreError, match="budget is less than one snapshot"):
            log.record_run("none", *samples(0), budget=size - 1, **OPTIONS)
        for number in range(1, 10):
            log.record_run(f"run {number}", *samples(number), budget=4 * size, **OPTIONS)
            assert len(log.snapshots()) <= 4
            assert {1, number} <= set(log.snapshots())
        assert log.budget() == 4 * size


def test_a_small_flash_is_thinned_and_never_full(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the budget: there is room for what a request writes beside the old, or a run is refused."""
    monkeypatch.setitem(flash.SIZES, "native", 40 * 4096)
    with opened(build, "native") as log:
        # a state is one block, and so is each run's record
        assert log.snapshot_size() == log.store.facts().block
        kept: list[int] = []

        def fill() -> None:
            for number in range(1, 40):
                log.record_run(f"run {number}", *samples(number, 3), budget=1 << 20, epochs=1, lr=0.01)
                kept.append(len(log.snapshots()))

        with pytest.raises(StoreError, match=r"no room for one more run and for a request .* pull"):
            fill()
        assert kept[:4] == [1, 2, 3, 4]
        assert kept[-1] < max(kept)
        last = len(log.runs)
        assert last > 8
        x, y = (np.concatenate(p) for p in zip(*(samples(n, 3) for n in range(1, last + 1)), strict=True))
        for row in (0, 3 * last - 1):
            task = Task(log.learner, (x[row : row + 1], y[row : row + 1]), (x, y), log=log)
            assert forget(log, find_method("rollback"), task).forgotten == 1
            assert log.snapshots()[0] == 1
    with opened(build, "native") as log:
        assert [request.status for request in log.requests] == ["certified"] * 2


def test_runs_without_end_need_a_new_log(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's list takes so many entries: snapshots make room for runs, and then it says what to do."""
    facts = HostStore.facts
    monkeypatch.setattr(HostStore, "facts", lambda store: replace(facts(store), most_entries=18))
    with opened(build, "reference") as log:
        for number in range(1, 8):
            log.record_run(f"run {number}", *samples(number, 1), epochs=1, lr=0.01)
            assert len(log.store.entries()) <= 18
            assert log.snapshots()[0] == 1
        before = log.weights_hash()
        with pytest.raises(StoreError, match=r"room for 7 runs and has logged 7 — save the weights"):
            log.record_run("one more", *samples(8, 1), epochs=1, lr=0.01)
        assert len(log.runs) == 7
        x, y = (np.concatenate(parts) for parts in zip(*(samples(n, 1) for n in range(1, 8)), strict=True))
        forget(log, find_method("rollback"), Task(log.learner, (x[3:4], y[3:4]), (x, y), log=log))
        assert len(log.store.entries()) <= 18
    with opened(build, "reference") as log:
        assert log.weights_hash() == log.requests[0].after != before


def test_a_batch_that_is_part_of_the_model_cannot_be_logged(tmp_path: Path) -> None:
    """Its samples cannot be told apart in a gradient: refused before anything is trained, with a remedy."""
    rng = np.random.default_rng(2)
    weights = {"w": rng.normal(size=(3, 4)).astype(np.float32), "b": np.zeros(3, np.float32)}
    pairs = model([2, 4], [node("Gemm", "x w b", "y", transB=1)], weights)
    build = mcutrain.compile(pairs, loss="cross-entropy", out=tmp_path / "pairs")
    with (
        build.session(store=True) as learner,
        pytest.raises(
            OptionError, match="2 samples at a time, which cannot be forgotten one by one — export it"
        ),
    ):
        RunLog.open(build, learner)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(4, 4)).astype(np.float32), y_train=np.arange(4) % 3)
    data = ["--data", str(tmp_path / "d.npz")]
    assert main(["train", str(build.directory), *data, "--run", "one", "--epochs", "1"]) == 2
    rows = tmp_path / "rows.txt"
    rows.write_text("1\n")
    asked = ["unlearn", str(build.directory), *data, "--method", "rollback", "--forget", str(rows)]
    assert main(asked) == 2


def test_what_a_run_took_is_kept(build: Build) -> None:
    with opened(build, "native") as log:
        log.record_run("one", *samples(1, 40), **OPTIONS)
        sample = log.meter.span("sample").seconds
        # of one alone it would be mostly what is done once for all of them
        log.sample_hashes(*samples(1, 1))
        assert log.meter.span("sample").seconds == sample > 0
    with opened(build, "native") as log:
        (run,) = log.runs
        assert min(run.sample_ticks, run.step_ticks, run.sample_seconds, run.step_seconds) > 0
        per_step = (run.sample_seconds * 80 + run.step_seconds * run.done) / 80
        assert run.pace == pytest.approx(per_step)
        assert log.meter.span("copy").seconds > 0
        assert log.meter.rate == 1_000_000
        assert min(log.meter.span(name).ticks for name in ("keep", "put", "hash", "commit")) > 0
    with opened(build, "reference") as log:
        log.record_run("one", *samples(1), validation=samples(2), **OPTIONS)
        assert log.runs[0].pace > 0
        assert (log.meter.rate, log.runs[0].sample_ticks, log.meter.span("keep").ticks) == (None, 0, 0)
        assert log.meter.span("keep").seconds > 0


def test_thinning_is_geometric() -> None:
    """With m snapshots the gap before the newest j grows by a constant factor; the first is always there."""
    for most in (3, 4, 8):
        kept: list[int] = []
        for run in range(1, 400):
            kept = thinned([*kept, run], most)
            assert len(kept) <= most
            assert kept[0] == 1
            assert kept[-1] == run
            assert kept == sorted(set(kept))
        assert len(kept) == most
        gaps = np.diff(kept)[::-1]
        assert (gaps[1:] >= gaps[:-1]).mean() >= 0.6
    assert thinned([1, 2, 3], 1) == [1]
    assert thinned([1, 2, 3], 2) == [1, 3]


def test_a_model_without_a_store_says_so(build: Build) -> None:
    with build.session() as learner, pytest.raises(StoreError, match="no persistent store"):
        RunLog.open(build, learner)
