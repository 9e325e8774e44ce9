"""Fine-tuning on the retained data: which layers move, what it costs, and the same bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from forgetting import Trained

from mcutrain.errors import DataError, OptionError
from mcutrain.executor import same_bits
from mcutrain.learning import Learner
from mcutrain.unlearning import Streamed, Task


def task(learner: Learner, trained: Trained, count: int = 24, **options: object) -> Task:
    forget, (x, y) = trained.of_class(3)
    return Task(learner, (forget[0][:8], forget[1][:8]), (x[:count], y[:count]), options=options, seed=5)


@pytest.mark.parametrize("variant", ["eu-k", "cf-k"])
def test_only_the_last_layer_moves_and_the_reference_agrees(trained: Trained, variant: str) -> None:
    after = []
    for learner in (trained.build.session(), trained.build.reference()):
        with learner:
            given = task(learner, trained, epochs=1, momentum=0.5)
            outcome = trained.run(learner, f"sparse-finetune:{variant}", given)
            after.append(learner.weights())
    assert all(same_bits(after[0][name], after[1][name]) for name in after[0])
    assert (outcome.steps, outcome.streamed) == (3, Streamed(2 * (8 + 24), 24))
    changed = {name for name in after[0] if not np.array_equal(after[0][name], trained.weights[name])}
    assert changed == {"w2", "b2"}


def test_the_same_seed_gives_the_same_bits_and_another_does_not(trained: Trained) -> None:
    weights = []
    with trained.build.session() as device:
        for seed in (1, 1, 2):
            given = task(device, trained, epochs=1)
            trained.run(device, "sparse-finetune:eu-k", Task(**{**vars(given), "seed": seed}))
            weights.append(device.weights()["w2"])
    assert same_bits(weights[0], weights[1])
    assert not same_bits(weights[0], weights[2])


def test_resetting_the_last_layer_forgets_a_class(trained: Trained) -> None:
    forget, retain = trained.of_class(3)
    with trained.build.session() as device:
        outcome = trained.run(
            device,
            "sparse-finetune:eu-k",
            Task(device, forget, retain, validation=trained.test, options={"epochs": 3, "lr": 0.05}),
        )
    assert outcome.honesty == "suppression"
    assert (outcome.before["forget"].accuracy or 0) > 0.9
    assert (outcome.after["forget"].accuracy or 0) <= 0.1
    assert (outcome.after["guard"].accuracy or 0) > 0.9
    names = ("importance", "gradients", "inputs", "held", "mask", "momentum")
    assert {carrier.name: carrier.fate for carrier in outcome.carriers} == dict.fromkeys(names, "cleared")


def test_an_interruption_puts_everything_back(trained: Trained) -> None:
    def stop(_: object) -> None:
        nonlocal events
        events += 1
        if events > 100:
            raise KeyboardInterrupt

    with trained.build.session() as device:
        device.load(trained.weights)
        before = device.snapshot()
        for after in (60, 100):
            events = 100 - after
            given = task(device, trained, count=80, batch=1)
            with pytest.raises(KeyboardInterrupt):
                trained.run(device, "sparse-finetune:eu-k", Task(**{**vars(given), "on_event": stop}))
            kept = device.snapshot()
            assert all(same_bits(before[name], kept[name]) for name in before)


def test_what_cannot_be_is_refused(trained: Trained) -> None:
    with trained.build.session() as device:
        given = task(device, trained)
        for options, message in (
            ({"k": 3}, "k is 3, and the model trains 2 layers"),
            ({"epochs": 0}, "option epochs is '0'"),
        ):
            with pytest.raises(OptionError, match=message):
                trained.run(device, "sparse-finetune:cf-k", Task(**{**vars(given), "options": options}))
        with pytest.raises(OptionError, match="needs the retain set"):
            trained.run(device, "sparse-finetune:cf-k", Task(device, given.forget))
        with pytest.raises(DataError, match="forget set: y"):
            trained.run(device, "sparse-finetune:cf-k", Task(device, (given.forget[0], given.forget[1] + 9)))
