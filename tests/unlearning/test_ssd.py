"""Selective synaptic dampening: what importance is, what a threshold selects, and what the guard set does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forgetting import Trained
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.errors import OptionError
from mcutrain.events import Evaluation
from mcutrain.executor import Array, same_bits
from mcutrain.learning import Learner
from mcutrain.numerics import octaves
from mcutrain.unlearning import Labelled, Progress, Task, find_method
from mcutrain.unlearning.goal import Goal
from mcutrain.unlearning.run import Run, open_set
from mcutrain.unlearning.ssd import (
    Ssd,
    accumulate_squares,
    measure,
    portions,
    representatives,
    store_importance,
)
from mcutrain.unlearning.thresholds import SHARES

SSD = find_method("ssd")


def task(trained: Trained, learner: Learner, count: int = 60, **options: object) -> Task:
    forget, retain = trained.of_class(3)
    return Task(
        learner, (forget[0][:12], forget[1][:12]), (retain[0][:count], retain[1][:count]), options=options
    )


def both(given: Task) -> Labelled:
    assert given.retain is not None
    return (
        np.concatenate([np.asarray(given.forget[0]), np.asarray(given.retain[0])]),
        np.concatenate([np.asarray(given.forget[1]), np.asarray(given.retain[1])]),
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
        store_importance(run, accumulate_squares(run, open_set(learner, "all", both(given))))
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
            factor = accumulate_squares(run, run["forget"])
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
        store_importance(run, accumulate_squares(run, open_set(device, "retain", given.retain)))
        wanted = importance(device)
    for name, codes in wanted.items():
        large = codes > 40
        apart = kept[name][large].astype(int) - codes[large].astype(int)
        assert np.median(np.abs(apart)) <= 2


def test_the_search_goes_down_the_shares(trained: Trained) -> None:
    with trained.build.session() as device:
        given = task(trained, device, 120, target=0.0, guard_points=100, damping=1.0, refine=0, layers=2)
        outcome = trained.run(device, "ssd", given)
    assert outcome.missed == (outcome.after["forget"].accuracy != 0)
    assert int(outcome.parameters["thresholds"] or 0) <= len(SHARES)
    if outcome.changed:
        share = float(outcome.parameters["alpha"] or 0) / (132 / 12)
        assert any(abs(share - s) < 1e-6 for s in SHARES)


@given(st.integers(1, 5000), st.integers(32, 600))
def test_portions_stand_for_all(count: int, most: int) -> None:
    found = portions(count, most)
    assert sum(groups * 4**level for level, groups in enumerate(found)) == count
    assert min(found) >= 0
    assert sum(found) <= most
    assert found == [count] or most < count


@given(st.integers(1, 400), st.integers(32, 120), st.integers(0, 9), st.integers(1, 12))
def test_each_sample_is_as_likely_as_its_weight_says(n: int, most: int, seed: int, classes: int) -> None:
    """Groups cut the samples into parts, whose losses fall within a class; one of each is drawn."""
    rng = np.random.default_rng(seed)
    losses, labels = rng.exponential(size=n), rng.integers(classes, size=n)
    chosen = representatives(losses, labels, most, rng)
    rows = np.concatenate(chosen)
    assert len(np.unique(rows)) == len(rows)
    assert [len(r) for r in chosen] == portions(n, most)
    # those that stand for themselves include the highest losses
    alone = len(chosen[0])
    assert set(np.argsort(-losses)[: alone // (classes + 1)]) <= set(chosen[0])


def test_the_draw_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    losses, labels = rng.exponential(size=200), rng.integers(5, size=200)
    values = losses * rng.uniform(0.5, 2, 200)
    sums = [
        sum(
            values[rows].sum() * 4**level
            for level, rows in enumerate(representatives(losses, labels, 40, rng))
        )
        for _ in range(4000)
    ]
    assert abs(np.mean(sums) / values.sum() - 1) < 4 * np.std(sums) / values.sum() / 4000**0.5


def importance_of_a_part(
    trained: Trained, learner: Learner, most: int
) -> tuple[Run, np.float32, Array, Array]:
    """``ssd`` up to its search: squares of the forget set, I_o and I_r as mean squares of the last layer."""
    learner.load(trained.weights)
    run = Run(Ssd(), task(trained, learner, 120, importance_samples=most))
    known = measure(run)
    assert known.samples == 132
    assert known.retained is not None
    name = "dense2.weight.importance"
    return run, known.factor, octaves.decode(importance(learner)[name]), octaves.decode(known.retained[name])


@pytest.mark.parametrize("most", [32, 57, 119, 120])
def test_a_part_of_the_retained_keeps_the_bound_and_the_identity(trained: Trained, most: int) -> None:
    """I_o = (n_r I_r + n_f I_f) / N whatever I_r was measured on, so that no alpha above N / n_f selects."""
    with trained.build.reference() as learner:
        run, factor, original, retained = importance_of_a_part(trained, learner, most)
        assert run.gradient <= 12 + min(most, 120)
        squares = learner.executor.read(["dense2.weight.gradient"])["dense2.weight.gradient"]
        wanted = (120 * retained.astype(np.float64) + 12 * squares * np.float64(factor)) / 132
        large = wanted > 1e-11
        assert (original[large] >= wanted[large] * (1 - 1e-6)).all()
        assert (original[large] <= wanted[large] * 2**0.25 * (1 + 1e-6)).all()
        for share, some in ((1.0, False), (0.3, True)):
            given = {"dampening": [share * 132 / 12, 0.0, factor]}
            got = run.execute("dampen", given, ["selected"], changes=True)
            assert (int(got["selected"][0]) > 0) == some


def test_weights_of_samples_are_their_loss_scales(trained: Trained) -> None:
    """A sample that stands for four counts as if it were there four times."""
    name = "dense2.weight.gradient"
    with trained.build.reference() as learner:
        learner.load(trained.weights)
        run = Run(Ssd(), task(trained, learner))
        once = [np.arange(8), np.arange(8, 12), np.arange(12, 15)]
        factor = accumulate_squares(run, run["retain"], once)
        sums = learner.executor.read([name])[name].astype(np.float64) * np.float64(factor)
        assert float(learner.executor.read(["loss_scale"])["loss_scale"][0]) == 1.0
        repeated = np.repeat(np.arange(15), [1] * 8 + [4] * 4 + [16] * 3)
        assert given_pair(run, repeated) is not None
        again = accumulate_squares(run, open_set(learner, "retain", given_pair(run, repeated)))
        wanted = learner.executor.read([name])[name].astype(np.float64) * np.float64(again)
    np.testing.assert_allclose(sums, wanted, rtol=1e-4, atol=1e-12)


def given_pair(run: Run, rows: Array) -> Labelled:
    held = run["retain"]
    return held.samples[rows], np.asarray(held.targets)[rows]


def test_what_is_left_is_what_was_measured(trained: Trained) -> None:
    """After a request the device holds the retained samples' own importance, not a difference."""
    with trained.build.session() as device:
        _, _, _, retained = importance_of_a_part(trained, device, 40)
        given = task(trained, device, 120, importance_samples=40, target=0.9, guard_points=100)
        outcome = trained.run(device, "ssd", given)
        assert outcome.changed
        kept = octaves.decode(importance(device)["dense2.weight.importance"])
    assert same_bits(kept, retained)
    assert outcome.parameters["samples_left"] == 120


def test_the_search_ends_when_its_samples_are_used_up(trained: Trained) -> None:
    with trained.build.session() as device:
        given = task(trained, device, 120, target=0.0, guard_points=0, search_samples=20)
        told = SSD.cost(given)
        outcome = trained.run(device, "ssd", given)
        free = trained.run(device, "ssd", replace(given, options={**given.options, "search_samples": 10**6}))
    assert outcome.streamed.inference <= told.streamed.inference
    assert outcome.streamed.gradient <= told.streamed.gradient
    assert int(outcome.parameters["thresholds"] or 0) < int(free.parameters["thresholds"] or 0)


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(0, 40),
    st.sampled_from([0.0, 0.01, 0.05, 0.3]),
)
def test_a_verdict_that_is_certain_is_the_final_one(right: list[bool], before: int, share: float) -> None:
    """Stopping early never changes what all samples would have said, and stops at the first that decides."""
    total = len(right)
    goal = Goal(True, share, points=share)
    base = Evaluation(total, 1.0, min(before, total) / total)
    whole = Evaluation(total, 1.0, sum(right) / total)
    missed, harmed = goal.out_of_reach(total), goal.surely_hurt(base, total)
    for certain, final in ((missed, not goal.reached(whole)), (harmed, goal.hurt(base, whole))):
        said = [certain(Evaluation(k, 0.0, sum(right[:k]) / k)) for k in range(1, total + 1)]
        assert said == sorted(said)
        assert said[-1] == final


def test_losses_that_are_certain_or_no_numbers() -> None:
    goal, before = Goal(False, None, rise=0.5), Evaluation(10, 1.0, None)
    harmed = goal.surely_hurt(before, 10)
    assert not harmed(Evaluation(5, 3.0, None))
    assert harmed(Evaluation(5, 3.1, None))
    assert harmed(Evaluation(1, float("nan"), None))
    assert harmed(Evaluation(1, float("inf"), None))


def test_overflowing_squares_are_measured_again_at_a_smaller_loss_scale(trained: Trained) -> None:
    with trained.build.session() as device:
        device.load(trained.weights)
        given = task(trained, device)
        run = Run(Ssd(), given)
        factor = accumulate_squares(run, run["forget"])
        sums = device.executor.read(["dense2.weight.gradient"])["dense2.weight.gradient"]
        device.executor.write({"loss_scale": np.array([2.0**70], np.float32)})
        again = accumulate_squares(run, run["forget"])
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
        with pytest.raises(OptionError, match="layers is 3, and the model trains 2 layers"):
            trained.run(device, "ssd", replace(given, options={"layers": 3}))
        with pytest.raises(OptionError, match="needs the guard set"):
            trained.run(device, "ssd", replace(given, retain=None))
        with pytest.raises(OptionError, match="needs the retain set"):
            trained.run(device, "ssd", replace(given, retain=None, guard=given.retain))
        several = replace(given, forget=given.retain or given.forget)
        with pytest.raises(OptionError, match="nothing says which accuracy counts as forgotten"):
            trained.run(device, "ssd", several)
