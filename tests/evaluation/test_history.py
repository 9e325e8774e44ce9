"""Exact methods inside an evaluation: a history of their own, and a verdict by bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.errors import OptionError
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.judge import Judge
from mcutrain.evaluation.measure import Data
from mcutrain.evaluation.schedule import Schedule, constant
from mcutrain.unlearning import find_method, rollback

#: Two phases with momentum, of which a logged run forgets at its end.
PHASES = Schedule.parse("3:0.1,2:0.02", batch=4, momentum=0.9)
ONE = constant(4, 0.1, batch=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def compiled(model: Path, out: Path, **options: Any) -> Build:
    return mcutrain.compile(
        model, loss="cross-entropy", momentum=True, workers=1, unlearn="analytic-head", out=out, **options
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Build:
    return compiled(dense_model, tmp_path_factory.mktemp("history") / "all")


@pytest.fixture(scope="module")
def data() -> Data:
    a = datasets.load("digits").arrays
    x, x_test = (a[name].reshape(-1, 64).astype(np.float32) for name in ("x_train", "x_test"))
    return Data(x[:120], a["y_train"][:120], x_test[:60], a["y_test"][:60], 10)


def judge(
    build: Build, data: Data, requests: Sequence[ask.Request], cache: Path, schedule: Schedule, **more: Any
) -> Judge:
    return Judge(build, data, requests, schedule, golds=2, attacked=False, cache=cache, **more)


def test_rollback_is_exact_for_requests_in_a_row(build: Build, data: Data, cache: Path) -> None:
    """From weights of our own, in two phases, the second request beginning where the first has ended."""
    rng = np.random.default_rng(1)
    with build.session(store=False) as device:
        start = {
            n: (w + rng.normal(0, 0.05, w.shape)).astype(np.float32) for n, w in device.weights().items()
        }
    requests = [ask.by_rows([3, 50]), ask.by_class(data.y_train, 1)]
    before = sorted(path.name for path in build.directory.iterdir())
    with judge(build, data, requests, cache, PHASES, start=start) as judging:
        judged = judging.run(find_method("rollback"))
    assert (judged.verdict.word, judged.claim) == ("exact", "exact")
    assert [o["method"] for o in judged.outcomes] == ["rollback"] * 2
    left = 120 - len(judging.sets.forget)
    assert judged.outcomes[1]["streamed"]["gradient"] == PHASES.epochs * left
    assert judged.measured.digest not in {m.digest for m in (judging.original, *judging.golds)}
    assert judged.cost.flash_bytes
    # a store of its own: none of the build's
    assert sorted(path.name for path in build.directory.iterdir()) == before


def test_a_rollback_that_is_not_exact_is_found_out(
    build: Build, data: Data, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = rollback.make_plan

    def careless(*arguments: Any) -> rollback.Plan:
        """The last run is repeated at another rate."""
        plan = honest(*arguments)
        (*others, last) = plan.reruns
        return replace(plan, reruns=(*others, replace(last, run=replace(last.run, lr=0.021))))

    monkeypatch.setattr(rollback, "make_plan", careless)
    with judge(build, data, [ask.by_rows([3, 50])], cache, PHASES) as judging:
        judged = judging.run(find_method("rollback"))
    assert (judged.verdict.word, judged.verdict.gate) == ("failed", "bits")


def test_what_was_not_told_of_cannot_be_forgotten_exactly(build: Build, data: Data, cache: Path) -> None:
    half = ask.poisoned(np.arange(0, 60, 5), 0.5)
    with judge(build, data, [half], cache, PHASES) as judging:
        judged = judging.run(find_method("rollback"))
    assert judged.verdict.word != "exact"
    assert judged.verdict.gate != "bits"


def test_weights_that_the_schedule_does_not_give(build: Build, data: Data, cache: Path) -> None:
    """A rollback goes back through runs: there are none of weights from elsewhere."""
    with build.session(store=False) as device:
        ONE.train(device, data.x_train, data.y_train, seed=0)
        right = device.weights()
        device.train(data.x_train, data.y_train, lr=0.01)
        wrong = device.weights()
    request = [ask.by_rows([7])]
    with judge(build, data, request, cache, ONE, original=right) as judging:
        assert judging.run(find_method("rollback")).verdict.word == "exact"
    with (
        judge(build, data, request, cache, ONE, original=wrong) as judging,
        pytest.raises(OptionError, match="the schedule does not give these weights"),
    ):
        judging.run(find_method("rollback"))


def test_a_counted_head_is_exact_where_nothing_below_it_trains(
    dense_model: Path, tmp_path: Path, data: Data, cache: Path
) -> None:
    build = compiled(dense_model, tmp_path / "head", train="dense2*")
    requests = [ask.by_rows([3, 50]), ask.by_class(data.y_train, 1)]
    with judge(build, data, requests, cache, ONE) as judging:
        judged = judging.run(find_method("analytic-head"), "subtract")
    assert (judged.verdict.word, judged.name) == ("exact", "analytic-head")
    assert judged.outcomes[1]["parameters"]["samples_left"] == 120 - len(judging.sets.forget)


def test_layers_below_a_head_that_learned_are_not_forgotten(build: Build, data: Data, cache: Path) -> None:
    with judge(build, data, [ask.by_class(data.y_train, 1)], cache, ONE) as judging:
        first = judging.run(find_method("analytic-head"), "subtract")
        # whatever the bench has done before
        judging.run(find_method("analytic-head"), "refit")
        again = judging.run(find_method("analytic-head"), "subtract")
    assert first.verdict.word != "exact"
    assert first.verdict.gate != "bits"
    assert first.measured.digest == again.measured.digest
