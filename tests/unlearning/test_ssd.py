"""Selective synaptic dampening: what importance is, what a threshold selects, and what the guard set does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forgetting import Trained

from mcutrain.errors import OptionError
from mcutrain.executor import Array, same_bits
from mcutrain.learning import Learner
from mcutrain.numerics import octaves
from mcutrain.unlearning import Progress, Task, find_method
from mcutrain.unlearning.run import Run, open_set
from mcutrain.unlearning.ssd import SHARES, Ssd, accumulate_squares, measure_importance

SSD = find_method("ssd")


def task(trained: Trained, learner: Learner, count: int = 60, **options: object) -> Task:
    forget, retain = trained.of_class(3)
    return Task(
        learner, (forget[0][:12], forget[1][:12]), (retain[0][:count], retain[1][:count]), options=options
    )


def importance(learner: Learner) -> dict[str, Array]:
    names = [f"{t.name}.importance" for t in learner.manifest.trained()]
    return learner.executor.read(names)


def test_importance_is_the_mean_of_squared_gradients_of_single_samples(trained: Trained) -> None:
    """Against gradients of one sample at a time, which another Program computes."""
    with trained.build.reference() as learner:
        learner.load(trained.weights)
        given = task(trained, learner)
        run = Run(Ssd(), given)
        assert measure_importance(run, [run["forget"], run["retain"]]) == 72
        stored = importance(learner)
        total: dict[str, Array] = {}
        for pair in (given.forget, given.retain):
            assert pair is not None
            for i in range(len(pair[0])):
                learner.accumulate(*learner.training_set(pair[0][i : i + 1], pair[1][i : i + 1]))
                for t in learner.manifest.trained():
                    g = learner.executor.read([f"{t.name}.gradient"])[f"{t.name}.gradient"]
                    total[t.name] = total.get(t.name, 0.0) + g.astype(np.float64) ** 2
    for name, squares in total.items():
        mean = squares / 72
        got = octaves.decode(stored[f"{name}.importance"]).astype(np.float64)
        seen = mean > 1e-11
        # rounded up to the next quarter octave, never down
        assert (got[seen] >= mean[seen] * (1 - 1e-5)).all()
        assert (got[seen] <= mean[seen] * 2**0.25 * (1 + 1e-5)).all()
        assert (got[mean == 0] == 0).all()


def test_alpha_of_all_over_forgotten_selects_nothing(trained: Trained) -> None:
    """I_f / I_o is at most N / n_f; with retained samples that give no gradient it nearly is."""
    with trained.build.session() as device:
        for count in (1, 60):
            given = task(trained, device, count, alpha=(count + 12) / 12, damping=0.0, target=0.0)
            outcome = trained.run(device, "ssd", given)
            assert (outcome.changed, outcome.missed) == (False, True)
            assert outcome.after == outcome.before
            run = Run(Ssd(), given)
            factor = accumulate_squares(run, [run["forget"]])
            for share, some in ((1.0, False), (0.5, True)):
                alpha = share * (count + 12) / 12
                got = run.execute("dampen", {"dampening": [alpha, 0.0, factor]}, ["selected"], changes=True)
                assert (int(got["selected"][0]) > 0) == some


def test_the_guard_set_has_the_last_word(trained: Trained) -> None:
    """A threshold that forgets but hurts is kept or put back, as the guard set's tolerance says."""
    events: list[Progress] = []
    forget, retain = trained.of_class(3)
    hard = {"alpha": 0.5, "damping": 0.0}
    with trained.build.session() as device:
        device.load(trained.weights)
        before = device.snapshot()
        given = Task(device, forget, retain, options={**hard, "guard_points": 0}, on_event=events.append)
        strict = SSD.run(given)
        after = device.snapshot()
        loose = SSD.run(replace(given, options={**hard, "guard_points": 100}))
    assert (strict.changed, strict.missed) == (False, True)
    assert strict.stop.startswith("put back: the guard set suffers")
    tried = [e for e in events if e.phase.startswith("thresholds")]
    assert strict.parameters["thresholds"] == 1
    assert len(tried) == 2
    weights = [name for name in before if not name.endswith(".importance")]
    assert all(same_bits(before[name], after[name]) for name in weights)
    assert (loose.changed, loose.missed) == (True, False)
    assert (loose.after["guard"].accuracy or 0) < (loose.before["guard"].accuracy or 0)


def test_every_damping_is_measured_against_the_network_as_it_was(trained: Trained) -> None:
    """What an earlier λ did to the guard set must not count as where it began."""
    with trained.build.session() as device:
        for label in range(10):
            forget, retain = trained.of_class(label)
            for alpha in (0.5, 2.0):
                device.load(trained.weights)
                outcome = SSD.run(Task(device, forget, retain, options={"alpha": alpha}))
                lost = (outcome.before["guard"].accuracy or 0) - (outcome.after["guard"].accuracy or 0)
                assert outcome.missed or lost <= 0.01 + 1e-9, (label, alpha, lost)


def test_retained_importance_needs_no_retained_data(trained: Trained) -> None:
    """After the request the stored importance is close to one measured on the retained samples alone."""
    with trained.build.session() as device:
        given = task(trained, device, 200, alpha=3.0, damping=1.0, target=1.0, guard_points=100)
        device.load(trained.weights)
        # reach the end of the recipe: the target is above what the forget set scores only after dampening
        outcome = SSD.run(replace(given, options={**given.options, "target": 0.999}))
        if not outcome.changed:
            pytest.skip("the threshold leaves the forget set as it is")
        kept = importance(device)
        assert outcome.parameters["samples_left"] == 200
        device.load(trained.weights)
        run = Run(Ssd(), given)
        assert given.retain is not None
        measure_importance(run, [open_set(device, "retain", given.retain)])
        wanted = importance(device)
    for name, codes in wanted.items():
        large = codes > 40
        apart = kept[name][large].astype(int) - codes[large].astype(int)
        assert np.median(np.abs(apart)) <= 2


def test_the_search_goes_down_the_shares(trained: Trained) -> None:
    with trained.build.session() as device:
        given = task(trained, device, 120, target=0.0, guard_points=100, damping=1.0)
        outcome = trained.run(device, "ssd", given)
    assert outcome.missed == (outcome.after["forget"].accuracy != 0)
    assert int(outcome.parameters["thresholds"] or 0) <= len(SHARES)
    if outcome.changed:
        share = float(outcome.parameters["alpha"] or 0) / (132 / 12)
        assert any(abs(share - s) < 1e-6 for s in SHARES)


def test_overflowing_squares_are_measured_again_at_a_smaller_loss_scale(trained: Trained) -> None:
    with trained.build.session() as device:
        device.load(trained.weights)
        given = task(trained, device)
        run = Run(Ssd(), given)
        factor = accumulate_squares(run, [run["forget"]])
        sums = device.executor.read(["dense2.weight.gradient"])["dense2.weight.gradient"]
        device.executor.write({"loss_scale": np.array([2.0**70], np.float32)})
        again = accumulate_squares(run, [run["forget"]])
        sums_again = device.executor.read(["dense2.weight.gradient"])["dense2.weight.gradient"]
    assert again < factor
    assert np.allclose(sums_again * np.float64(again), sums * np.float64(factor), rtol=1e-3)
    assert run.gradient > 2 * 12


def test_what_stored_importance_needs(trained: Trained) -> None:
    with trained.build.session() as device:
        given = task(trained, device)
        with pytest.raises(OptionError, match="training_samples is 5, and 12 are to be forgotten"):
            trained.run(device, "ssd", replace(given, options={"training_samples": 5}))
        with pytest.raises(OptionError, match="no importance is stored"):
            trained.run(device, "ssd", replace(given, options={"training_samples": 500}))
        with pytest.raises(OptionError, match="needs the guard set"):
            trained.run(device, "ssd", replace(given, retain=None))
        with pytest.raises(OptionError, match="needs the retain set"):
            trained.run(device, "ssd", replace(given, retain=None, guard=given.retain))
        several = replace(given, forget=given.retain or given.forget)
        with pytest.raises(OptionError, match="nothing says which accuracy counts as forgotten"):
            trained.run(device, "ssd", several)
