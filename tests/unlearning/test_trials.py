"""Methods look for a rate or strength that the network bears, and say what that took."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forgetting import Trained

from mcutrain.events import Evaluation
from mcutrain.executor import same_bits
from mcutrain.learning import Learner
from mcutrain.unlearning import Outcome, Task, parse_method
from mcutrain.unlearning.goal import Goal


def run(trained: Trained, device: Learner, method: str, **options: object) -> tuple[Outcome, Task]:
    forget, (x, y) = trained.of_class(3)
    task = Task(device, (forget[0][:16], forget[1][:16]), (x[:48], y[:48]), options=options, seed=2)
    return trained.run(device, method, task), task


def accuracy(outcome: Outcome, name: str = "guard") -> float:
    return outcome.after[name].accuracy or 0.0


@pytest.mark.parametrize(
    ("method", "strength", "wild"),
    [
        ("sparse-finetune:l1", "l1", 300.0),
        ("sparse-finetune:prune-first", "l1", 300.0),
        ("distill:scrub", "lr", 3.0),
    ],
)
def test_what_ruins_a_network_is_tried_again_more_gently(
    trained: Trained, method: str, strength: str, wild: float
) -> None:
    given = {strength: wild, "epochs": 2}
    with trained.build.session() as device:
        before = {name: value.copy() for name, value in trained.weights.items()}
        once, _ = run(trained, device, method, **given, tries=1)
        left = device.weights()
        found, task = run(trained, device, method, **given, tries=10)
        cost = parse_method(method)[0].cost(replace(task, learner=device, variant=found.variant))
    # the first attempt alone leaves nothing of use, so everything is put back
    assert once.missed
    assert not once.changed
    assert "put back" in once.stop
    assert all(same_bits(left[name], before[name]) for name in before)
    # a gentler one is found, and what the others took is counted
    tried = found.parameters["tried"]
    assert isinstance(tried, int)
    assert 1 < tried <= 10
    assert found.parameters[strength] == pytest.approx(wild / 3 ** (tried - 1))
    assert found.changed
    assert accuracy(found) >= (found.before["guard"].accuracy or 0) - 0.1 - 1e-9
    assert found.streamed.gradient > once.streamed.gradient
    assert found.streamed.gradient <= cost.streamed.gradient
    assert found.streamed.inference <= cost.streamed.inference


def test_the_attempt_that_hurt_least_stays_where_all_hurt(trained: Trained) -> None:
    """A tolerance that nobody can keep to: more accuracy than there was."""
    options = {"epochs": 1, "l1": 1.5, "guard_points": 0.0}
    with trained.build.session() as device:
        runs = [run(trained, device, "sparse-finetune:l1", **options, tries=n)[0] for n in (1, 2, 3)]
        alone = [
            run(trained, device, "sparse-finetune:l1", **{**options, "l1": 1.5 / 3**n}, tries=1)[0]
            for n in (0, 1, 2)
        ]
    for tries, outcome in enumerate(runs, start=1):
        if int(outcome.parameters["tried"] or 0) == tries:
            assert accuracy(outcome) == max(accuracy(a) for a in alone[:tries])
    assert all(a.changed for a in alone)
    assert accuracy(alone[0]) < accuracy(alone[2])


def test_a_rate_that_hurts_falls_until_the_network_bears_it(trained: Trained) -> None:
    given = {"lr": 0.5, "epochs": 12}
    with trained.build.session() as device:
        fixed, _ = run(trained, device, "gradient:ascent", **given, adapt=False)
        found, _ = run(trained, device, "gradient:ascent", **given)
    assert found.changed
    rate = found.parameters["rate"]
    assert isinstance(rate, float)
    assert rate < 0.5
    assert accuracy(found, "forget") < accuracy(fixed, "forget")
    assert accuracy(found) >= (found.before["guard"].accuracy or 0) - 0.01 - 1e-9


def test_a_rate_that_leads_nowhere_rises(trained: Trained) -> None:
    given = {"lr": 1e-5, "epochs": 15, "retain_steps": 1}
    with trained.build.session() as device:
        fixed, _ = run(trained, device, "gradient:inverted-hinge", **given, adapt=False)
        found, _ = run(trained, device, "gradient:inverted-hinge", **given)
    assert accuracy(fixed, "forget") == (fixed.before["forget"].accuracy or 0)
    rate = found.parameters["rate"]
    assert isinstance(rate, float)
    assert rate > 1e-3
    losses = [o.loss for o in (found.before["forget"], fixed.after["forget"], found.after["forget"])]
    before, steady, risen = (loss or 0.0 for loss in losses)
    assert risen - before > 10 * abs(steady - before)


def test_slow_means_that_the_epochs_left_do_not_suffice() -> None:
    goal = Goal(True, 0.1)
    start, now = Evaluation(10, 0.1, 0.9), Evaluation(10, 0.2, 0.7)
    assert goal.slow(start, now, 2)
    assert not goal.slow(start, now, 3)
    assert goal.slow(start, start, 100)
    assert not Goal(True, None).slow(start, start, 1)
    # of a regression the loss shall rise
    errors = Goal(False, 1.0)
    assert errors.slow(Evaluation(10, 0.2, None), Evaluation(10, 0.3, None), 6)
    assert not errors.slow(Evaluation(10, 0.2, None), Evaluation(10, 0.3, None), 8)
    assert np.isinf(Goal(True, 0.1).rise)
