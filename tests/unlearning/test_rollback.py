"""Rollback: the bits of never having seen a sample, at the cost that was told, and nothing left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcutrain
from mcutrain.build import Build
from mcutrain.errors import DataError, OptionError
from mcutrain.runlog import RunLog
from mcutrain.runrecords import weight_names
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.requests import Forgetting, forget, select
from mcutrain.work import Stopwatch

RUNS, SIZE = 4, 12
#: Two of the runs have the same samples.
SEEDS = [1, 2, 1, 3]
EXECUTORS = ["native", "reference"]


def samples(seed: int, count: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 64)).astype(np.float32), np.arange(count) % 10


def options(run: int) -> dict[str, Any]:
    return {
        "epochs": 1 + run % 2,
        "lr": 0.05,
        "batch": 1 + run % 4,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "seed": run,
        "shuffle": run % 3 != 0,
    }


def everything() -> tuple[np.ndarray, np.ndarray]:
    parts = [samples(seed) for seed in (1, 2, 3, 4)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def compiled(model: Path, folder: Path, target: str = "native", precision: str = "fp32") -> Build:
    return mcutrain.compile(
        model,
        target=target,
        loss="cross-entropy",
        momentum=True,
        precision=precision,  # type: ignore[arg-type]
        out=folder / target,
    )


@pytest.fixture
def build(dense_model: Path, tmp_path: Path) -> Build:
    return compiled(dense_model, tmp_path)


@contextmanager
def opened(build: Build, executor: str) -> Iterator[RunLog]:
    with build.reference(store=True) if executor == "reference" else build.session(store=True) as learner:
        yield RunLog.open(build, learner)


def train_all(log: RunLog, budget: int | None = None) -> None:
    for run, seed in enumerate(SEEDS):
        log.record_run(f"run {run}", *samples(seed), budget=budget, **options(run))


def without(build: Build, left_out: Sequence[tuple[int, int]]) -> str:
    """Hash of the weights of runs that never had samples (seed, number): another code, step by step."""
    with build.reference(store=False) as learner:
        for run, seed in enumerate(SEEDS):
            x, y = samples(seed)
            hyper = options(run)
            batch, rng = hyper["batch"], np.random.Generator(np.random.Philox(run))
            optimizer = ("loss_scale", "good_steps", "skipped_steps")
            fresh = {
                t.name: np.zeros(t.shape, dtype(t.dtype))
                for t in build.manifest.tensors
                if t.name.endswith(".momentum") or t.name in optimizer
            }
            fresh["loss_scale"][:] = 1024 if mixed(build) else 1
            learner.executor.write(fresh)
            for _ in range(hyper["epochs"]):
                order = rng.permutation(SIZE) if hyper["shuffle"] else np.arange(SIZE)
                for start in range(0, SIZE, batch):
                    chosen = [i for i in order[start : start + batch] if (seed, i) not in left_out]
                    if chosen:
                        learner.accumulate(*learner.training_set(x, y), chosen)
                        learner.apply(hyper["lr"], len(chosen), hyper["momentum"], hyper["weight_decay"])
        names = weight_names(build.manifest)
        got = learner.executor.read(names)
        return hashlib.sha256(b"".join(got[name].tobytes() for name in names)).hexdigest()


def mixed(build: Build) -> bool:
    return build.manifest.options.precision == "mixed"


def dtype(name: str) -> Any:
    return {"f32": np.float32, "i32": np.int32}[name]


def rollback(log: RunLog, left_out: Sequence[tuple[int, int]], **more: Any) -> Forgetting:
    """Forget samples (seed, number) of the log."""
    x = np.stack([samples(seed)[0][i] for seed, i in left_out])
    y = np.array([samples(seed)[1][i] for seed, i in left_out])
    task = Task(log.learner, forget=(x, y), retain=everything(), **more)
    cost = find_method("rollback").cost(Task(log.learner, (x, y), log=log))
    result = forget(log, find_method("rollback"), task)
    if result.outcome is not None:
        assert result.outcome.streamed.gradient == cost.streamed.gradient
        assert result.outcome.steps == cost.steps
        assert cost.seconds
        # the reference is no device: nothing counts its ticks
        assert (cost.ticks, cost.rate) == (None, None) if log.on_host else (cost.ticks or 0) > 0
    return result


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("chosen", [(1, 0), (1, 11), (2, 5), (3, 7)])
def test_one_sample(
    dense_model: Path, tmp_path: Path, executor: str, precision: str, chosen: tuple[int, int]
) -> None:
    build = compiled(dense_model, tmp_path, precision=precision)
    with opened(build, executor) as log:
        train_all(log)
        assert log.weights_hash() == without(build, [])
        result = rollback(log, [chosen])
        wanted = without(build, [chosen])
        assert log.weights_hash() == wanted
        assert result.certificate is not None
        assert result.certificate.record.after.hex() == wanted
        assert log.weights_hash() != result.certificate.record.before.hex()
    with opened(build, executor) as log:
        assert log.weights_hash() == wanted
        assert log.messages == []
        assert log.forgotten(log.sample_hashes(*samples(chosen[0]))[chosen[1]])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_several_requests_one_after_another(build: Build, executor: str) -> None:
    """A class, a sample, a whole run; each result is that of never having had all of them."""
    gone: list[tuple[int, int]] = []
    groups = [
        [(seed, i) for seed in (1, 2, 3) for i in range(SIZE) if i % 10 == 4],
        [(3, 0)],
        [(2, i) for i in range(SIZE) if i % 10 != 4],
        [(1, 3), (3, 3)],
    ]
    with opened(build, executor) as log:
        train_all(log)
        for group in groups:
            gone += group
            assert rollback(log, group).forgotten == len(group)
            assert log.weights_hash() == without(build, gone)
        assert [request.status for request in log.requests] == ["certified"] * 4
        log.record_run("after", *samples(4), **options(1))
        rollback(log, [(1, 5)])
        with pytest.raises(DataError, match="no logged run has trained 1 sample of the 1 named"):
            rollback(log, [(5, 0)])


def test_order_of_requests_does_not_matter(dense_model: Path, tmp_path: Path) -> None:
    hashes = set()
    for i, order in enumerate([[(1, 2), (3, 4)], [(3, 4), (1, 2)]]):
        with opened(compiled(dense_model, tmp_path / str(i)), "native") as log:
            train_all(log)
            for chosen in order:
                rollback(log, [chosen])
            hashes.add(log.weights_hash())
    assert len(hashes) == 1


def test_snapshots_that_were_thinned_out(build: Build) -> None:
    with opened(build, "native") as log:
        train_all(log, budget=2 * log.snapshot_size())
        assert log.snapshots() == [1, 4]
        result = rollback(log, [(2, 5)])
        assert result.outcome is not None
        assert result.outcome.parameters["start"] == 1
        assert log.weights_hash() == without(build, [(2, 5)])
        assert log.snapshots() == [1, 4]
        assert rollback(log, [(3, 5)]).outcome.parameters["start"] == 4  # type: ignore[union-attr]
        assert log.weights_hash() == without(build, [(2, 5), (3, 5)])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_request_repeated_does_nothing(build: Build, executor: str) -> None:
    with opened(build, executor) as log:
        train_all(log)
        rollback(log, [(1, 2)])
        sequence = log.sequence
        again = rollback(log, [(1, 2)])
        assert (again.outcome, again.certificate, again.forgotten, again.already) == (None, None, 0, 1)
        assert log.sequence == sequence
        part = rollback(log, [(1, 2), (1, 3)])
        assert (part.forgotten, part.already) == (1, 1)
        assert log.weights_hash() == without(build, [(1, 2), (1, 3)])


def test_forgotten_samples_are_not_learned_again(build: Build) -> None:
    with opened(build, "native") as log:
        train_all(log)
        rollback(log, [(1, 2)])
        with pytest.raises(DataError, match=r"has forgotten 1 sample of these 12 \(the first is sample 2\)"):
            log.record_run("again", *samples(1), **options(1))
        log.record_run("again", *samples(1), allow_forgotten=True, **options(1))
        sample = log.sample_hashes(*samples(1))[2]
        assert not log.forgotten(sample)
        result = rollback(log, [(1, 2)])
        assert result.forgotten == 1
        assert result.outcome is not None
        assert result.outcome.parameters["start"] == 5
        assert log.forgotten(sample)
        assert log.weights_hash() == without(build, [(1, 2)])[:0] + log.runs[-1].weights


def test_the_sample_itself_need_not_be_at_hand(build: Build) -> None:
    x, y = everything()
    with opened(build, "native") as log:
        train_all(log)
        sample = log.sample_hashes(*samples(2))[6]
        assert select(log, [sample.hex()[:12]]) == [sample]
        with pytest.raises(DataError, match="is of no logged sample"):
            select(log, ["0" * 12])
        with pytest.raises(DataError, match="is too short"):
            select(log, ["0"])
        rest = [i for i in range(len(x)) if not np.array_equal(x[i], samples(2)[0][6])]
        task = Task(log.learner, forget=(x[:1], y[:1]), retain=(x[rest], y[rest]), samples=[sample])
        forget(log, find_method("rollback"), task)
        assert log.weights_hash() == without(build, [(2, 6)])


def test_missing_data_is_named_and_nothing_done(build: Build) -> None:
    with opened(build, "native") as log:
        train_all(log)
        before, (x, y) = log.weights_hash(), samples(1)
        task = Task(log.learner, forget=(x[:1], y[:1]), retain=samples(1))
        with pytest.raises(DataError, match="the data lacks 12 samples of 12 in run 'run 1'"):
            forget(log, find_method("rollback"), task)
        with pytest.raises(OptionError, match="give the training data"):
            forget(log, find_method("rollback"), Task(log.learner, forget=(x[:1], y[:1])))
        assert log.weights_hash() == before
        assert [request.status for request in log.requests] == ["reverted", "reverted"]
        assert not log.forgotten(log.sample_hashes(x[:1], y[:1])[0])
        rollback(log, [(1, 0)])
        assert log.weights_hash() == without(build, [(1, 0)])


def test_a_stop_in_the_middle_leaves_the_model_as_before(build: Build) -> None:
    def stop(event: Any) -> None:
        if event.done == 9:
            raise KeyboardInterrupt

    with opened(build, "native") as log:
        train_all(log)
        before = log.weights_hash()
        with pytest.raises(KeyboardInterrupt):
            rollback(log, [(1, 4)], on_event=stop)
        assert log.weights_hash() == before
        assert log.requests[0].status == "reverted"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_while_training_is_interrupted(build: Build, executor: str) -> None:
    """A request in the middle of a run, then the rest of the run: as if the sample had never been."""
    import os
    import signal

    def interrupt(event: Any) -> None:
        if getattr(event, "step", 0) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with opened(build, executor) as log:
        for run, seed in enumerate(SEEDS[:3]):
            log.record_run(f"run {run}", *samples(seed), **options(run))
        with pytest.raises(KeyboardInterrupt):
            log.record_run("run 3", *samples(3), on_event=interrupt, **options(3))
        assert (log.runs[3].status, log.runs[3].done) == ("interrupted", 3)
        rollback(log, [(1, 4), (3, 1)])
    with opened(build, executor) as log:
        assert log.runs[3].status == "interrupted"
        x, y = samples(3)
        log.record_run("run 3", np.delete(x, 1, 0), np.delete(y, 1), resume=True, **options(3))
        assert log.weights_hash() == without(build, [(1, 4), (3, 1)])


def test_no_older_state_is_left_in_the_flash(build: Build) -> None:
    with opened(build, "native") as log:
        train_all(log)
        old = [log.store.read(f"snapshot/{number}")[-1000:] for number in (2, 3, 4)]
        old.append(log.store.read("state")[-1000:])
        flash = build.state_folder / "flash.bin"
        assert all(state in flash.read_bytes() for state in old)
        result = rollback(log, [(1, 2)])
        assert not any(state in flash.read_bytes() for state in old)
        assert log.snapshots() == [1, 2, 3, 4]
        assert result.certificate is not None
        assert result.certificate.text["snapshots_erased"] == [2, 3, 4]


@pytest.mark.gvsoc
def test_on_gvsoc_with_its_file(dense_model: Path, tmp_path: Path) -> None:
    build = compiled(dense_model, tmp_path, "gvsoc", "mixed")
    wanted: list[Any] = []
    for executor in ("device", "reference"):
        with opened(build, executor) as log:
            for run in (1, 2):
                log.record_run(f"run {run}", *samples(run, 5), **options(run))
        with opened(build, executor) as log:
            x, y = samples(1, 5)
            task = Task(log.learner, (x[2:3], y[2:3]), both(), log=log)
            cost = find_method("rollback").cost(task)
            watch = Stopwatch(log.learner.executor)
            forget(log, find_method("rollback"), task)
            if executor == "device":
                # cycles, which are the same whatever else the computer does
                assert cost.rate == 0
                assert watch.span().ticks == pytest.approx(cost.ticks, rel=0.05)
        with opened(build, executor) as log:
            assert log.requests[0].status == "certified"
            wanted.append((log.requests[0].before, log.weights_hash()))
    assert wanted[0] == wanted[1]
    assert wanted[0][0] != wanted[0][1]


def both() -> tuple[np.ndarray, np.ndarray]:
    """The samples of two short runs."""
    x, y = zip(samples(1, 5), samples(2, 5), strict=True)
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.qemu
def test_on_qemu_with_its_flash(dense_model: Path, tmp_path: Path) -> None:
    build = compiled(dense_model, tmp_path, "qemu", "mixed")
    with opened(build, "device") as log:
        train_all(log)
        assert log.weights_hash() == without(build, [])
    with opened(build, "device") as log:
        rollback(log, [(2, 8)])
    with opened(build, "device") as log:
        assert log.weights_hash() == without(build, [(2, 8)])
