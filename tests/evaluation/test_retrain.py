"""Retrained models: what is read from them, how they are trained, kept, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from networks import residual, separable

import mcutrain
from mcutrain.build import Build
from mcutrain.errors import DataError
from mcutrain.evaluation.attacks import Bench
from mcutrain.evaluation.observe import Observer, read_parameters, weights_hash
from mcutrain.evaluation.retrain import Plan, Step, Trainer, native_twin
from mcutrain.evaluation.schedule import constant
from mcutrain.executor import Array, same_bits

SCHEDULE = constant(2, 0.05, batch=4)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Build:
    out = tmp_path_factory.mktemp("retrain") / "build"
    return mcutrain.compile(dense_model, target="native", loss="cross-entropy", workers=1, out=out)


@pytest.fixture(scope="module")
def samples() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 80).astype(np.int32)
    centres = rng.normal(size=(10, 64))
    return (centres[y] + rng.normal(size=(80, 64))).astype(np.float32), y


PLANS = [
    Plan("all", tuple(range(80)), 0),
    Plan("even", tuple(range(0, 80, 2)), 1),
    Plan("other", tuple(range(80)), 2),
]


def test_processes_give_the_weights_of_one_session_whatever_their_number(
    build: Build, samples: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = samples
    one = Trainer(build, x, y, SCHEDULE, processes=1, cache=tmp_path / "one").train(PLANS)
    three = Trainer(build, x, y, SCHEDULE, processes=3, cache=tmp_path / "three").train(PLANS)
    for plan, a, b in zip(PLANS, one, three, strict=True):
        rows = np.array(plan.rows)
        with build.session(workers=1) as learner:
            learner.train(x[rows], y[rows], epochs=2, lr=0.05, batch=4, seed=plan.seed)
            wanted = read_parameters(learner)
        for name, value in wanted.items():
            assert same_bits(a[name], value)
            assert same_bits(b[name], value)
    assert len({weights_hash(w) for w in one}) == 3


def test_what_was_trained_is_found_again_and_only_that(
    build: Build, samples: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = samples
    steps: list[Step] = []

    def trainer(schedule=SCHEDULE, x: Array = x, start=None) -> Trainer:  # type: ignore[no-untyped-def]
        return Trainer(build, x, y, schedule, start=start, cache=tmp_path, on_step=steps.append)

    first = trainer().train(PLANS[:2])
    assert not any(s.cached for s in steps)
    steps.clear()
    again = trainer().train([PLANS[1], PLANS[0]])
    assert [s.cached for s in steps] == [True, True]
    assert weights_hash(again[0]) == weights_hash(first[1])
    # a file that was damaged is made again
    damaged = trainer().path(PLANS[0])
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert weights_hash(trainer().train(PLANS[:1])[0]) == weights_hash(first[0])
    # anything that decides the weights decides the name
    paths = {
        trainer().path(PLANS[0]),
        trainer(constant(2, 0.05, batch=5)).path(PLANS[0]),
        trainer(x=x + 1).path(PLANS[0]),
        trainer(start=first[0]).path(PLANS[0]),
        trainer().path(PLANS[1]),
        trainer().path(PLANS[2]),
    }
    assert len(paths) == 6


def test_start_weights_take_the_place_of_the_builds(
    build: Build, samples: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = samples
    (once,) = Trainer(build, x, y, constant(1, 0.05), cache=tmp_path).train(PLANS[:1])
    (on,) = Trainer(build, x, y, constant(1, 0.05), start=once, cache=tmp_path).train(
        [Plan("on", PLANS[0].rows, 7919)]
    )
    with build.session(workers=1) as learner:
        learner.train(x, y, epochs=1, lr=0.05, seed=0)
        learner.train(x, y, epochs=1, lr=0.05, seed=7919)
        assert weights_hash(read_parameters(learner)) == weights_hash(on)


def test_a_model_that_diverges_is_named_and_the_others_stay(
    build: Build, samples: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = samples
    wild = Trainer(build, x, y, constant(3, 1e5), processes=1, cache=tmp_path)
    with pytest.raises(DataError, match="all: training diverged"):
        wild.train(PLANS[:1])
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".part"]
    assert not wild.path(PLANS[0]).exists()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from mcutrain.build import Build
from mcutrain.evaluation.retrain import Plan, Trainer
from mcutrain.evaluation.schedule import constant
x = np.ones((50, 64), np.float32)
y = np.zeros(50, np.int32)
def on_step(step):
    print(step.done, flush=True)
plans = [Plan(str(i), tuple(range(50)), i) for i in range(2)]
build, cache = Build.open(sys.argv[1]), Path(sys.argv[2])
Trainer(build, x, y, constant(100000, 0.001), cache=cache, on_step=on_step).train(plans)
"""


def test_ctrl_c_ends_every_process(build: Build, tmp_path: Path) -> None:
    root = Path(mcutrain.__file__).parents[1]
    host = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(build.directory), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        start_new_session=True,
    )
    assert host.stdout is not None
    host.stdout.readline()
    started = _children(host.pid)
    assert len(started) >= 2
    host.send_signal(signal.SIGINT)
    _, said = host.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    deadline = time.monotonic() + 30
    while any(map(_alive, started)):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.05)
    assert not list(tmp_path.glob("*.part"))


def _children(pid: int) -> list[int]:
    """Processes below ``pid``, from /proc."""
    found, below = [], [pid]
    while below:
        parent = below.pop()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(path.parent.name))
                below.append(found[-1])
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_native_twin_has_the_bits_of_the_build(
    dense_model: Path, samples: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = samples
    out = tmp_path / "qemu"
    build = mcutrain.compile(dense_model, target="qemu", precision="mixed", loss="cross-entropy", out=out)
    twin = native_twin(build, tmp_path / "cache")
    assert twin.target.name == "native"
    assert native_twin(build, tmp_path / "cache").directory == twin.directory
    assert native_twin(twin, tmp_path / "cache") is twin
    with build.reference() as reference, twin.session() as native:
        for learner in (reference, native):
            learner.train(x[:12], y[:12], epochs=1, lr=0.1, batch=3)
        wanted, got = read_parameters(reference), read_parameters(native)
    assert weights_hash(wanted) == weights_hash(got)


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("network", [residual, separable])
def test_observed_logits_and_layers_are_those_of_the_reference(network, precision: str) -> None:  # type: ignore[no-untyped-def]
    build = mcutrain.compile(network(), target="native", precision=precision, loss="cross-entropy", workers=1)
    with build.session() as native, build.reference() as reference:
        ours, theirs = Observer(native), Observer(reference)
        x = np.random.default_rng(0).normal(size=(3, *native.manifest.tensor("input").shape[1:]))
        x = x.astype(np.float32)
        logits, features = ours.outputs(x)
        outputs = native.infer(x)
        for a, b in zip((logits, features), theirs.outputs(x), strict=True):
            assert same_bits(a, b)
        layers, wanted = ours.activations(x), theirs.activations(x)
        for name in wanted:
            assert same_bits(layers[name], wanted[name])
    # the classifier is linear in the features: that they are the right tensor shows in the logits
    last = [t for t in build.manifest.parameters() if t.name.startswith(ours.layers[-1].name)]
    weight = next(t for t in last if t.name.endswith("weight"))
    assert features.shape[1] == weight.shape[-1]
    if network is separable:
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        assert outputs == pytest.approx(p / p.sum(axis=1, keepdims=True), abs=2e-3)
    else:
        assert same_bits(outputs, logits)


def test_a_bench_holds_nothing_of_the_model_before(build: Build, samples: tuple[Array, Array]) -> None:
    x, y = samples
    with build.session() as learner:
        bench = Bench(learner, SCHEDULE)
        weights = read_parameters(learner)
        first = bench.relearn(weights, x[:8], y[:8], x)
        assert list(first) == [2, 5, 10, 20]
        assert bench.learn_on(weights, x, y, x) is not None
        second = bench.relearn(weights, x[:8], y[:8], x)
        for steps in first:
            assert same_bits(first[steps], second[steps])
        # the steps go on from each other: 2 then 3 more are 5 at once
        bench.hold(weights)
        learner.train(x[:8], y[:8], epochs=5, lr=0.05 * 8 / 4, batch=8)
        assert bench.observer.outputs(x)[0] == pytest.approx(first[5], rel=1e-4, abs=1e-5)
