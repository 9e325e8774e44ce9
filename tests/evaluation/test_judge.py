"""Whole evaluations on small networks: methods, poison, regression, and the noise floor of LiRA."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_models import model, node, normal

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.errors import OptionError
from mcutrain.evaluation import metrics, report
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.judge import Judge
from mcutrain.evaluation.measure import Data, Sets
from mcutrain.evaluation.record import as_json, clean
from mcutrain.evaluation.schedule import constant
from mcutrain.unlearning import find_method

SCHEDULE = constant(8, 0.1, batch=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Build:
    out = tmp_path_factory.mktemp("judge") / "dense"
    return mcutrain.compile(
        dense_model, target="native", loss="cross-entropy", workers=1, unlearn=["sparse-finetune"], out=out
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    a = datasets.load("digits").arrays
    x, x_test = (a[name].reshape(-1, 64).astype(np.float32) for name in ("x_train", "x_test"))
    return Data(x, a["y_train"], x_test, a["y_test"], 10)


def first(data: Data, train: int, test: int) -> Data:
    return Data(data.x_train[:train], data.y_train[:train], data.x_test[:test], data.y_test[:test], 10)


def test_a_method_forgets_two_requests_in_a_row(build: Build, digits: Data, cache: Path) -> None:
    data = first(digits, 300, 120)
    requests = [ask.by_class(data.y_train, 5), ask.by_class(data.y_train, 1)]
    options = {"epochs": 2, "lr": 0.1, "batch": 4, "l1": 1.0, "tries": 1}
    with Judge(build, data, requests, SCHEDULE, golds=2, attacked=False, cache=cache) as judge:
        judged = judge.run(find_method("sparse-finetune"), options=options)
        # the same again gives the same bits: the bench is clean
        again = judge.run(find_method("sparse-finetune"), options=options)
    assert judged.measured.digest == again.measured.digest != judge.original.digest
    assert [o["method"] for o in judged.outcomes] == ["sparse-finetune"] * 2
    keep = [300 - len(requests[0].rows), 300 - len(requests[0].rows) - len(requests[1].rows)]
    assert judged.cost.gradient == 2 * sum(keep)
    assert judged.cost.retraining == 8 * keep[1]
    assert judged.cost.programs["train_step"] == judged.cost.gradient
    assert judged.figures["acc_forget"] < judge.original_figures["acc_forget"]
    assert judged.verdict.gate
    json.dumps(as_json(judge, [judged]), allow_nan=False)


def test_a_backdoor_is_in_the_original_and_not_in_retrained_models(
    build: Build, digits: Data, cache: Path
) -> None:
    clean_data = first(digits, 400, 120)
    poison = ask.Poison(target=7, image=(8, 8))
    x, y, rows = poison.spread(clean_data.x_train, clean_data.y_train, 0.15, seed=1)
    data = Data(x, y, clean_data.x_test, clean_data.y_test, 10, poison=poison)
    with Judge(
        build, data, [ask.poisoned(rows, 0.5)], SCHEDULE, golds=2, attacked=False, cache=cache
    ) as judge:
        assert judge.original_figures["backdoor"] > 0.8
        assert judge.summary["backdoor"][0] < 0.3
        assert judge.original_figures["acc_forget"] > 0.8
        assert len(judge.sets.forget) == len(rows) == 60
        assert len(judge.requests[0].rows) == 30


def test_a_retrained_model_passes_the_gates_that_the_original_misses(
    build: Build, digits: Data, cache: Path
) -> None:
    data = first(digits, 300, 120)
    with Judge(build, data, [ask.by_class(data.y_train, 5)], SCHEDULE, golds=3, cache=cache) as judge:
        original = judge.judge("untouched", judge.original.weights)
        retrained = judge.judge("third", judge.golds[2].weights)
        by_name = {g.name: g for g in original.gates}
        assert by_name["acc_forget"].measured == pytest.approx(100 * original.figures["acc_forget"])
        assert not by_name["acc_forget"].passed
        assert original.verdict.word == "failed"
        assert {g.name: g.passed for g in retrained.gates}["acc_forget"]
        # knowledge that is there comes back at once
        assert original.figures["relearn_2"] >= judge.summary["relearn_2"][0]
        assert original.figures["row_cosine"] == pytest.approx(1.0)
        assert judge.summary["row_cosine"][0] < 1.0
        # an exact method is believed for its bits alone
        exact = judge.judge("e", judge.golds[0].weights, claim="exact", control=judge.golds[0].weights)
        assert exact.verdict.word == "exact"
        other = judge.judge("e", judge.golds[0].weights, claim="exact", control=judge.golds[1].weights)
        assert (other.verdict.word, other.verdict.gate) == ("failed", "bits")


def test_a_regression_is_judged_by_its_errors(tmp_path: Path, cache: Path) -> None:
    proto = model(
        [1, 6],
        [
            node("Gemm", "x w1 b1", "h", transB=1),
            node("Relu", "h", "r"),
            node("Gemm", "r w2 b2", "y", transB=1),
        ],
        {"w1": normal(16, 6) / 3, "b1": np.zeros(16, np.float32)}
        | {"w2": normal(2, 16) / 4, "b2": np.zeros(2, np.float32)},
    )
    build = mcutrain.compile(proto, target="native", loss="mse", workers=1, out=tmp_path / "b")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(160, 6)).astype(np.float32)
    y = np.column_stack([np.sin(x[:, 0]), x[:, 1] * 0.5]).astype(np.float32)
    data = Data(x[:120], y[:120], x[120:], y[120:], 2, regression=True)
    request = ask.by_rows(np.flatnonzero(x[:120, 0] > 0.8))
    with Judge(build, data, [request], constant(6, 0.05), golds=2, cache=cache) as judge:
        judged = judge.judge("untouched", judge.original.weights)
        result = as_json(judge, [judged])
    names = [g.name for g in judged.gates]
    assert names == ["mae_forget", "mae_retain", "mae_test", "membership", "lira"]
    assert judged.figures["mae_forget"] < judge.summary["mae_forget"][0]
    assert judged.figures["wasserstein_forget"] > 0
    assert judged.gates[-1].passed is None
    page = report.html(result)
    assert page.count("<svg") == 3
    report.write(tmp_path / "report", result)
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == result


@pytest.mark.slow
def test_lira_cannot_tell_retrained_models_from_each_other(build: Build, digits: Data, cache: Path) -> None:
    """The untouched model, which has learnt its samples by heart, is caught; retrained ones are at ½.

    One pool of shadow models serves the random and the lowest-loss request.
    """
    # Neighbours are of one hand: only shuffled are forgotten and held-out samples alike.
    order = np.random.default_rng(6).permutation(len(digits.y_train))
    x, y = digits.x_train[order], digits.y_train[order]
    data = Data(x[:400], y[:400], x[400:800], y[400:800], 10)
    trained: list[str] = []

    def judge(request: ask.Request) -> Judge:
        return Judge(
            build,
            data,
            [request],
            constant(30, 0.1, batch=4),
            golds=3,
            shadows=16,
            attacked=False,
            cache=cache,
            on_step=lambda step: trained.append(step.title),
        )

    with judge(ask.at_random(400, 0.5, seed=3)) as found:
        assert len(found.sets.forget) == 200
        print(found.lira_power, found.original_figures["lira"], [f["lira"] for f in found.gold_figures])
        for figures in found.gold_figures:
            assert 0.45 <= figures["lira"] <= 0.55
        assert found.original_figures["lira"] > found.summary["lira"][0] + 0.05
        assert found.lira_power > 0.55
        losses = metrics.losses(found.original.train, data.y_train)
    assert sum("shadow" in title for title in trained) >= 16
    trained.clear()
    with judge(ask.worst_case(losses, 0.5)) as found:
        print(found.lira_power, found.original_figures["lira"], [f["lira"] for f in found.gold_figures])
        assert 0.45 <= found.summary["lira"][0] <= 0.55
        assert found.original_figures["lira"] > found.summary["lira"][0]
    assert not [title for title in trained if "shadow" in title]


def test_roles_of_the_rows() -> None:
    y, y_test = np.array([0, 1, 2, 1, 0, 1]), np.array([1, 0, 2, 1])
    data = Data(np.zeros((6, 2)), y, np.zeros((4, 2)), y_test, 3)
    sets = Sets(data, ask.by_class(y, 1))
    assert sets.forget.tolist() == [1, 3, 5]
    assert sets.retain.tolist() == [0, 2, 4]
    assert sets.held_out.tolist() == sets.test_forgotten.tolist() == [0, 3]
    assert sets.test_kept.tolist() == [1, 2]
    assert len(sets.relearned) == 1
    assert sorted([*sets.relearned, *sets.asked]) == [1, 3, 5]
    some = Sets(data, ask.by_rows([0, 2]))
    assert some.held_out.tolist() == [1, 2]
    assert some.test_kept.tolist() == [0, 1, 2, 3]


def test_what_json_cannot_say_becomes_null() -> None:
    value = {"a": float("nan"), 3: [np.float32(1.5), np.int64(2), float("inf"), np.bool_(True), None, "x"]}
    assert clean(value) == {"a": None, "3": [1.5, 2, None, True, None, "x"]}


def test_too_few_models_are_refused(build: Build, digits: Data) -> None:
    request = ask.by_class(digits.y_train, 5)
    with pytest.raises(OptionError, match="no spread"):
        Judge(build, digits, [request], SCHEDULE, golds=1)
    for models in (1, 2, 5):
        with pytest.raises(OptionError, match=f"fitted on {models} shadow"):
            Judge(build, digits, [request], SCHEDULE, shadows=models)


@pytest.mark.parametrize("value", [np.float32(1e30), np.float32("nan")])
def test_a_broken_model_fails_and_breaks_nothing(
    build: Build, digits: Data, cache: Path, value: np.float32
) -> None:
    data = first(digits, 300, 120)
    with Judge(build, data, [ask.by_class(data.y_train, 5)], SCHEDULE, golds=3, cache=cache) as judge:
        broken = {name: np.full_like(w, value) for name, w in judge.original.weights.items()}
        judged = judge.judge("broken", broken)
        assert (judged.verdict.word, judged.verdict.gate) == ("failed", "finite")
        json.dumps(as_json(judge, [judged]), allow_nan=False)
        assert judge.judge("whole", judge.golds[0].weights).verdict.gate != "finite"
