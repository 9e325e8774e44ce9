"""Every method and variant: the same bits on device and reference, and never dearer than it said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forgetting import Trained

from mcutrain.build import Build
from mcutrain.errors import BuildError, OptionError
from mcutrain.executor import same_bits
from mcutrain.learning import Learner
from mcutrain.unlearning import Outcome, Task, methods, parse_method

#: Methods with the options that make them do everything they can in a few steps.
CLASSIFYING = {
    "ssd": {"target": 0.4, "guard_points": 50},
    "ssd:search": {"alpha": 0.3, "target": 0.9, "guard_points": 100},
    "sparse-finetune:l1": {"epochs": 1, "momentum": 0.5},
    "sparse-finetune:prune-first": {"epochs": 1},
    "sparse-finetune:eu-k": {"epochs": 2, "k": 1, "batch": 5},
    "sparse-finetune:cf-k": {"epochs": 1, "k": 2},
    "distill:scrub": {"epochs": 2, "forget_epochs": 1},
    "distill:bad-teacher": {"epochs": 1, "temperature": 2},
    "distill:blindspot": {"epochs": 1, "cache": "f32", "momentum": 0.5},
    "gradient:ascent": {"epochs": 2, "patience": 9},
    "gradient:npo": {"epochs": 2, "patience": 9, "projection": True},
    "gradient:inverted-hinge": {"epochs": 2, "patience": 9, "mask": "wagle", "mask_share": 0.3},
    "gradient:random-label": {"epochs": 2, "patience": 9, "mask": "saliency", "retain_steps": 2},
    "gradient:uniform": {"epochs": 2, "patience": 9, "retain_steps": 0, "batch": 3},
    "gradient": {"epochs": 3, "lr": 0.3},
}
#: The same of a regression.
REGRESSING = {
    "distill:blindspot": {"epochs": 2},
    "distill:gaussian": {"epochs": 2},
    "gradient:ascent": {"epochs": 2, "target": 50, "patience": 9},
    "sparse-finetune:l1": {"epochs": 1},
    "ssd": {"alpha": 0.5, "target": 1e-6},
}


def classifying(trained: Trained) -> Task:
    forget, (x, y) = trained.of_class(3)
    x_test, y_test = trained.test
    with trained.build.reference() as learner:  # replaced for every run
        return Task(
            learner,
            (forget[0][:8], forget[1][:8]),
            (x[:24], y[:24]),
            (x[24:44], y[24:44]),
            (x_test[:10], y_test[:10]),
            seed=11,
        )


def regressing(learner: Learner) -> Task:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = np.stack([x[:, 0] * x[:, 1], np.sin(x[:, 2])], axis=1).astype(np.float32)
    return Task(learner, (x[:8], y[:8]), (x[8:32], y[8:32]), validation=(x[32:], y[32:]), seed=2)


def check_cost(task: Task, outcome: Outcome) -> None:
    cost = parse_method(outcome.method)[0].cost(replace(task, variant=outcome.variant))
    if not cost.bound:
        assert (outcome.streamed, outcome.steps) == (cost.streamed, cost.steps)
    assert outcome.streamed.inference <= cost.streamed.inference
    assert outcome.streamed.gradient <= cost.streamed.gradient
    assert outcome.steps <= cost.steps


def test_the_lists_name_every_variant() -> None:
    listed = {(m.name, v) for m, v in (parse_method(name) for name in {**CLASSIFYING, **REGRESSING})}
    own = {"ssd", "sparse-finetune", "distill", "gradient"}
    assert listed == {(m.name, v.name) for m in methods() if m.name in own for v in m.variants}


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_classifier_forgets_alike_on_device_and_reference(trained: Trained, name: str) -> None:
    task = replace(classifying(trained), options=CLASSIFYING[name])
    outcomes, states = [], []
    for learner in (trained.build.session(), trained.build.reference()):
        with learner:
            outcomes.append(trained.run(learner, name, task))
            states.append(learner.snapshot())
            check_cost(replace(task, learner=learner), outcomes[-1])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].changed == (name != "gradient")  # the last of the list goes too far
    assert all(same_bits(states[0][tensor], states[1][tensor]) for tensor in states[0])
    moved = [n for n in trained.weights if not np.array_equal(states[0][WEIGHTS[n]], trained.weights[n])]
    assert bool(moved) == outcomes[0].changed


#: device names of the dense model's initializers
WEIGHTS = {"w1": "dense1.weight", "b1": "dense1.bias", "w2": "dense2.weight", "b2": "dense2.bias"}


@pytest.mark.parametrize("name", REGRESSING)
def test_a_regression_forgets_alike_on_device_and_reference(regression: Build, name: str) -> None:
    method, variant = parse_method(name)
    outcomes, states = [], []
    for learner in (regression.session(), regression.reference()):
        with learner:
            task = replace(regressing(learner), variant=variant, options=REGRESSING[name])
            learner.train(*task.retain or task.forget, epochs=2, lr=0.05)
            outcomes.append(method.run(task))
            states.append(learner.snapshot())
            check_cost(task, outcomes[-1])
    assert outcomes[0] == outcomes[1]
    assert all(same_bits(states[0][tensor], states[1][tensor]) for tensor in states[0])


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["ssd", "gradient:npo"])
def test_qemu_agrees(trained: Trained, name: str, dense_model: object) -> None:
    import mcutrain

    build = mcutrain.compile(
        dense_model,
        target="qemu",
        loss="cross-entropy",
        momentum=True,
        unlearn=trained.build.manifest.options.unlearn,
    )
    task = replace(classifying(trained), options=CLASSIFYING[name])
    states = []
    for learner in (build.session(), trained.build.session()):
        with learner:
            trained.run(learner, name, task)
            states.append(learner.snapshot())
    assert all(same_bits(states[0][tensor], states[1][tensor]) for tensor in states[0])


@pytest.mark.parametrize(
    ("name", "options", "program", "token"),
    [
        ("ssd", {}, "importance", "ssd"),
        ("sparse-finetune:l1", {}, "shrink", "sparse-finetune"),
        ("distill:scrub", {}, "unlearn_step", "distill"),
        ("gradient:npo", {}, "unlearn_step", "gradient"),
        ("gradient:npo", {"projection": True}, "unlearn_step", r"gradient,gradient\+projection"),
        ("gradient:npo", {"mask": "wagle"}, "unlearn_step", r"gradient,gradient\+mask"),
    ],
)
def test_a_build_without_the_programs_says_how_to_get_them(
    plain_build: Build, trained: Trained, name: str, options: dict[str, object], program: str, token: str
) -> None:
    method, variant = parse_method(name)
    with plain_build.reference() as learner:
        task = replace(classifying(trained), learner=learner, variant=variant, options=options)
        with pytest.raises(BuildError, match=f"no Program '{program}', which .*--unlearn {token}$"):
            method.run(task)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("distill:scrub", {}, "distill:scrub works on the scores of classes"),
        ("distill:bad-teacher", {}, "distill:bad-teacher works on the scores of classes"),
        ("gradient:npo", {}, "gradient:npo works on the scores of classes"),
        ("gradient:ascent", {"projection": True, "retain_steps": 0}, "projection needs the gradient"),
    ],
)
def test_methods_that_a_regression_cannot_use(
    regression: Build, name: str, options: dict[str, object], reason: str
) -> None:
    method, variant = parse_method(name)
    with regression.reference() as learner, pytest.raises(OptionError, match=reason):
        method.run(replace(regressing(learner), variant=variant, options=options))


def test_gaussian_targets_are_no_labels(trained: Trained) -> None:
    with (
        trained.build.reference() as learner,
        pytest.raises(OptionError, match="gaussian is for regressions"),
    ):
        trained.run(learner, "distill:gaussian", classifying(trained))
