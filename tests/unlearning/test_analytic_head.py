"""The analytic head: what was forgotten was never there, bit for bit, in any order and on every executor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forgetting import Trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import NETWORKS

import mcutrain
from mcutrain.cli.main import main
from mcutrain.errors import BuildError, DataError, OptionError
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.ops.head import MOST_SAMPLES
from mcutrain.unlearning import Task, parse_method
from mcutrain.unlearning.analytic_head import AnalyticHead

COUNT = 40


@pytest.fixture(scope="module")
def digits(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The trained digits network with its first layer frozen, in a build that carries the head's Programs."""
    path = tmp_path_factory.mktemp("digits") / "trained.onnx"
    trained.build.save_onnx(path, trained.weights)
    build = mcutrain.compile(path, loss="cross-entropy", train="second", unlearn="analytic-head")
    return replace(trained, build=build)


@pytest.fixture(scope="module")
def device(digits: Trained) -> Iterator[Learner]:
    with digits.build.session() as session:
        session.load(digits.weights)
        AnalyticHead(session).calibrate(*session.training_set(*digits.train))
        yield session


def weights_hash(learner: Learner) -> str:
    """SHA-256 of all weights and of what the head knows."""
    digest = hashlib.sha256()
    tensors = {**learner.weights(), **AnalyticHead(learner).state()}
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


def learned(learner: Learner, digits: Trained, steps: Sequence[tuple[int, bool]]) -> str:
    """Hash of the network after learning (True) and forgetting (False) samples in this order."""
    head = AnalyticHead(learner)
    head.clear()
    x, y = digits.train
    for index, learn in steps:
        one = learner.training_set(x[index : index + 1], y[index : index + 1])
        (head.learn if learn else head.forget)(*one)
    head.solve()
    return weights_hash(learner)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, bool]], set[int]]:
    """An order of learning and forgetting in which each sample goes after it came, and who stays."""
    chosen = draw(st.lists(st.integers(0, COUNT - 1), min_size=2, max_size=12, unique=True))
    gone = set(draw(st.lists(st.sampled_from(chosen), max_size=len(chosen) - 1, unique=True)))
    steps = [(index, True) for index in chosen]
    for index in gone:
        after = steps.index((index, True)) + 1
        steps.insert(draw(st.integers(after, len(steps))), (index, False))
    return steps, set(chosen) - gone


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), order=st.randoms(use_true_random=False))
def test_forgetting_equals_never_having_learned(
    device: Learner, digits: Trained, history: tuple[list[tuple[int, bool]], set[int]], order: object
) -> None:
    steps, stay = history
    never = [(index, True) for index in sorted(stay)]
    order.shuffle(never)  # type: ignore[attr-defined]
    assert learned(device, digits, steps) == learned(device, digits, never)


def test_the_hash_tells_one_sample_from_none(device: Learner, digits: Trained) -> None:
    assert learned(device, digits, [(0, True), (1, True)]) != learned(device, digits, [(0, True)])


@pytest.mark.parametrize(
    ("target", "precision"),
    [("native", "fp32"), ("native", "mixed"), pytest.param("qemu", "mixed", marks=pytest.mark.qemu)],
)
def test_device_and_reference_agree(digits: Trained, target: str, precision: str) -> None:
    build = mcutrain.compile(
        digits.build.model_path,
        target=target,
        precision=precision,  # type: ignore[arg-type]
        loss="cross-entropy",
        unlearn="analytic-head",
    )
    x, y = digits.train
    hashes = []
    for learner in (build.session(), build.reference()):
        with learner:
            learner.load(digits.weights)
            head = AnalyticHead(learner)
            chosen = learner.training_set(x[:30], y[:30])
            head.calibrate(*chosen)
            head.learn(*chosen)
            head.forget(*learner.training_set(x[10:15], y[10:15]))
            head.solve()
            hashes.append(weights_hash(learner))
    assert hashes[0] == hashes[1]


def accuracy(learner: Learner, digits: Trained) -> float:
    return learner.evaluate(*digits.test).accuracy or 0.0


def test_forgetting_a_request(device: Learner, digits: Trained) -> None:
    """As a method: the weights are those of the head that learned the others alone."""
    device.load(digits.weights)
    x, y = digits.train
    forget, retain = (
        (x[100:160], y[100:160]),
        (np.delete(x, range(100, 160), 0), np.delete(y, range(100, 160))),
    )
    refit, _ = parse_method("analytic-head:refit")
    refit.run(Task(device, forget, digits.train, variant="refit"))
    everything = weights_hash(device)
    assert accuracy(device, digits) > 0.85

    method, _ = parse_method("analytic-head")
    task = Task(device, forget, validation=digits.test)
    cost = method.cost(task)
    outcome = method.run(task)
    assert outcome.honesty == "exact"
    assert outcome.streamed == cost.streamed
    assert outcome.parameters["samples_left"] == len(x) - 60
    assert {c.name: c.fate for c in outcome.carriers} == {
        "head sums": "recomputed",
        "head features": "cleared",
        "head scale": "kept",
        "gradients": "cleared",
        "inputs": "cleared",
    }
    assert not device.executor.read(["head.features"])["head.features"].any()
    forgotten = weights_hash(device)
    outcome = refit.run(Task(device, forget, retain, variant="refit"))
    assert outcome.parameters["samples_left"] == len(x) - 60
    assert weights_hash(device) == forgotten != everything


def test_an_interruption_puts_everything_back(device: Learner, digits: Trained) -> None:
    learned(device, digits, [(i, True) for i in range(20)])
    before = weights_hash(device)
    x, y = digits.train

    def stop(progress: object) -> None:
        if getattr(progress, "phase", "") == "subtracting" and getattr(progress, "done", 0) == 3:
            raise KeyboardInterrupt

    method, _ = parse_method("analytic-head")
    with pytest.raises(KeyboardInterrupt):
        method.run(Task(device, (x[:8], y[:8]), on_event=stop))
    assert weights_hash(device) == before


def test_what_cannot_be_is_refused(device: Learner, digits: Trained) -> None:
    x, y = digits.train
    head = AnalyticHead(device)
    method, _ = parse_method("analytic-head")
    head.clear()
    with pytest.raises(OptionError, match="has learned nothing yet"):
        method.run(Task(device, (x[:8], y[:8])))
    learned(device, digits, [(i, True) for i in range(5)])
    before = weights_hash(device)
    with pytest.raises(DataError, match="holds 5 samples, and is to forget 8"):
        method.run(Task(device, (x[:8], y[:8])))
    with pytest.raises(DataError, match="holds 5 samples, and is to forget 8"):
        head.forget(*device.training_set(x[:8], y[:8]))
    with pytest.raises(OptionError, match="needs the retain set"):
        method.run(Task(device, (x[:8], y[:8]), variant="refit"))
    assert weights_hash(device) == before
    head.clear()
    with pytest.raises(OptionError, match="no solution at a ridge of 0"):
        head.solve(0)


def test_no_more_samples_than_the_sums_hold(device: Learner, digits: Trained) -> None:
    """Refused on the host before anything changes, and by the device itself."""
    x, y = digits.train
    head = AnalyticHead(device)
    head.clear()
    device.executor.write({"head.count": np.int32([MOST_SAMPLES - 1])})
    with pytest.raises(DataError, match=f"room for {MOST_SAMPLES} samples: it would hold {MOST_SAMPLES + 1}"):
        head.learn(*device.training_set(x[:2], y[:2]))
    head.learn(*device.training_set(x[:1], y[:1]))
    full = head.state()
    given: dict[str, Array] = {"label": np.int32([1])}
    assert device.executor.run("gram_learn", given, ["admitted"])["admitted"][0] == 0
    assert all(np.array_equal(value, head.state()[name]) for name, value in full.items())
    head.clear()


def test_the_sums_in_a_file_serve_the_next_request(
    digits: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: learn all but class 3, forget class 4; as good as learning neither."""
    paths = [tmp_path / f"{name}.npz" for name in ("first", "second", "never")]
    common = ["unlearn", str(digits.build.directory), "--data", "digits", "--method"]
    assert main([*common, "analytic-head:refit", "--forget-class", "3", "-o", str(paths[0])]) == 0
    given = ["--weights", str(paths[0]), "--retain", "none", "--guard", "digits"]
    assert main([*common, "analytic-head", *given, "--forget-class", "4", "-o", str(paths[1])]) == 0
    x, y = digits.train
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"{row}\n" for row in np.flatnonzero(np.isin(y, (3, 4)))))
    fixed = ["--weights", str(paths[1]), "--forget", str(rows), "-o", str(paths[2])]
    assert main([*common, "analytic-head:refit", *fixed]) == 0
    with np.load(paths[1]) as second, np.load(paths[2]) as never:
        assert set(second) >= {"w2", "b2", "head.gram", "head.targets", "head.count", "head.scale"}
        assert second["head.count"][0] == len(x) - np.count_nonzero(np.isin(y, (3, 4)))
        assert all(np.array_equal(second[name], never[name]) for name in second.files)
    np.savez(paths[0], **{**dict(np.load(paths[1])), "head.gram": np.zeros(3, np.float32)})
    capsys.readouterr()
    assert main([*common, "analytic-head", *given, "--forget-class", "5"]) == 2
    assert "'head.gram' is not i32[91]" in capsys.readouterr().err


def test_another_method_says_that_the_sums_still_hold_the_samples(device: Learner, digits: Trained) -> None:
    learned(device, digits, [(i, True) for i in range(5)])
    x, y = digits.train
    method, variant = parse_method("sparse-finetune:eu-k")
    task = Task(device, (x[:8], y[:8]), (x[8:40], y[8:40]), variant=variant, options={"epochs": 1})
    assert ("head sums", "kept") in [(c.name, c.fate) for c in method.run(task).carriers]


def test_a_build_without_the_programs_says_how_to_get_them(trained: Trained) -> None:
    with trained.build.session() as learner, pytest.raises(BuildError, match="no Program") as caught:
        trained.run(learner, "analytic-head", Task(learner, (trained.train[0][:8], trained.train[1][:8])))
    assert "--unlearn analytic-head" in caught.value.remedy


def test_regression_in_batches_of_three() -> None:
    """Targets in Q15: learning and forgetting are exact, and the fit is that of least squares."""
    make, _, _ = NETWORKS["mlp"]
    build = mcutrain.compile(make(), loss="mse", unlearn="analytic-head")
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 33)).astype(np.float32)
    with build.session() as learner:
        head = AnalyticHead(learner)
        name = build.manifest.program("head_features").outputs[0]
        inputs = [learner.rows_of(x, start, "input") for start in range(0, 300, 3)]
        features = np.concatenate(
            [learner.executor.run("head_features", {"input": i}, [name])[name] for i in inputs]
        )
        y = (features @ rng.normal(size=(18, 9)) + rng.normal(size=9)).astype(np.float32)
        samples, targets = learner.training_set(x, y)
        head.calibrate(samples, targets)
        assert 0.5 < np.abs(y).max() * head.scale[1] <= 1
        head.learn(*learner.training_set(x[:240], y[:240]))
        head.solve(1e-6)
        without = weights_hash(learner)
        fit = learner.infer(x)
        assert np.abs(fit - y).max() < 0.05 * np.abs(y).max()
        head.learn(*learner.training_set(x[240:], y[240:]))
        head.solve(1e-6)
        assert weights_hash(learner) != without
        head.forget(*learner.training_set(x[240:], y[240:]))
        head.solve(1e-6)
        assert weights_hash(learner) == without
