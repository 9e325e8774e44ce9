"""Every method brings the accuracy on a forgotten class down and spares the rest, within generous bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forgetting import Trained

from mcutrain.unlearning import Task, parse_method

#: Method, options, most that the forgotten class may score and least that the retained digits must.
BANDS: list[tuple[str, dict[str, Any], float, float]] = [
    ("ssd", {"guard_points": 5}, 0.05, 0.85),
    ("sparse-finetune:l1", {"lr": 0.03}, 0.40, 0.85),
    ("sparse-finetune:prune-first", {"lr": 0.03, "sparsity": 0.3}, 0.40, 0.85),
    ("sparse-finetune:eu-k", {}, 0.05, 0.90),
    ("distill:bad-teacher", {"epochs": 5}, 0.30, 0.85),
    ("distill:blindspot", {"epochs": 5, "proxy_epochs": 3}, 0.20, 0.90),
    ("gradient:npo", {"lr": 0.003, "retain_steps": 3, "patience": 8}, 0.30, 0.85),
    ("gradient:npo", {"projection": True}, 0.30, 0.85),
    ("gradient:npo", {"mask": "wagle", "lr": 0.003, "retain_steps": 3, "patience": 8}, 0.50, 0.85),
    ("gradient:ascent", {"lr": 0.003, "retain_steps": 3, "patience": 8}, 0.50, 0.85),
    ("gradient:inverted-hinge", {}, 0.10, 0.90),
    ("gradient:random-label", {}, 0.75, 0.85),
    ("gradient:uniform", {}, 0.60, 0.85),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "most", "least"), BANDS, ids=[f"{b[0]}-{i}" for i, b in enumerate(BANDS)]
)
def test_a_digit_is_forgotten(
    trained: Trained, name: str, options: dict[str, Any], most: float, least: float
) -> None:
    forget, retain = trained.of_class(3)
    with trained.build.session() as device:
        outcome = trained.run(device, name, Task(device, forget, retain, options=options))
        kept = device.evaluate(*retain).accuracy or 0.0
    print(f"{name}: {outcome.after['forget'].accuracy:.3f} / {kept:.3f}, {outcome.stop}")
    assert (outcome.before["forget"].accuracy or 0) > 0.9
    assert outcome.changed
    assert (outcome.after["forget"].accuracy or 0) <= most
    assert kept >= least
    assert outcome.honesty == "suppression"


@pytest.mark.slow
def test_scrub_leaves_a_settled_network(trained: Trained) -> None:
    """A network that still learns may grow surer instead: that leads away from the teacher, too."""
    forget, retain = trained.of_class(3)
    with trained.build.session() as device:
        device.load(trained.weights)
        device.train(*trained.train, epochs=20, lr=0.01, batch=8)
        options = {"epochs": 8, "forget_epochs": 7}
        outcome = parse_method("distill:scrub")[0].run(Task(device, forget, retain, options=options))
        kept = device.evaluate(*retain).accuracy or 0.0
    print(f"distill:scrub: {outcome.after['forget'].accuracy:.3f} / {kept:.3f}, {outcome.stop}")
    assert (outcome.after["forget"].accuracy or 0) <= 0.4
    assert kept >= 0.85


def test_the_guard_is_drawn_evenly_and_by_the_seed(trained: Trained) -> None:
    from mcutrain.unlearning.run import GUARD_SIZE, Run
    from mcutrain.unlearning.ssd import Ssd

    forget, retain = trained.of_class(3)
    with trained.build.reference() as learner:
        drawn = [Run(Ssd(), Task(learner, forget, retain, seed=seed))["guard"] for seed in (0, 0, 1)]
    counts = np.bincount(drawn[0].labels(), minlength=10)
    assert counts[3] == 0
    assert len(drawn[0]) == counts.sum() == GUARD_SIZE
    assert counts.max() - np.delete(counts, 3).min() <= 1
    same = [np.array_equal(drawn[0].samples[:], other.samples[:]) for other in drawn[1:]]
    assert same == [True, False]
