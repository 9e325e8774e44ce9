"""Selective synaptic dampening (Foster et al., *Fast Machine Unlearning Without Retraining Through
Selective Synaptic Dampening*, 2024), with importances of single samples.

Importance is the mean over samples of the squared gradient: I_o over all
training data, kept on the device in a byte a parameter, and I_f over the
samples to forget.  Where I_f > α·I_o a parameter is multiplied by
min(λ·I_o / I_f, 1).  As I_f / I_o is at most N / n_f, α is searched downwards
from there until the forget set is forgotten; the guard set says when that is
too much, and then everything is put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mcutrain.errors import DataError, OptionError
from mcutrain.events import Evaluation
from mcutrain.manifest import Manifest
from mcutrain.unlearning.base import Carrier, Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.goal import GUARD_POINTS, TARGET, Goal, asks_validation, describe
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run, Set, Snapshot

#: Values of α that are tried, as shares of N / n_f.
SHARES = (0.9, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
#: Values of λ that are tried.  As I_f / I_o is at most N / n_f, λ = 1 leaves a good part of every weight
#: where few classes share the data.
DAMPINGS = (1.0, 0.3, 0.0)


@register
class Ssd(Method):
    name = "ssd"
    summary = "dampens the weights that matter more to the forget set than to the rest"
    honesty = "suppression"
    variants = (Variant("search", "searches the threshold downwards, guarded"),)
    needs_retain = "a guard set; all training data once, unless the importance is stored"
    memory_words = "1 byte a trained parameter"
    cost_words = "forget set forward and backward once, then forward with the guard set for each threshold"
    options = (
        TARGET,
        GUARD_POINTS,
        Option("alpha", float, None, "try this threshold only, instead of searching", 0, 1e12),
        Option(
            "damping",
            float,
            None,
            f"λ of min(λ·I_o / I_f, 1); by default {', '.join(f'{d:g}' for d in DAMPINGS)}, each tried when "
            "the one before was too weak",
            0,
            1e6,
        ),
        Option(
            "refine",
            int,
            6,
            "thresholds tried between one that forgets too little and one that hurts the guard set",
            0,
            64,
        ),
        Option(
            "training_samples",
            int,
            None,
            "samples behind the importance that is stored on the device, the forget set included; "
            "without it the importance is measured over the retain and forget sets first",
            2,
            1 << 31,
        ),
    )

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        return {"ssd": ("importance", "store_importance", "dampen", "retain_importance")}

    def memory(self, manifest: Manifest) -> int:
        return sum(int(np.prod(t.shape)) for t in manifest.trained())

    def cost(self, task: Task) -> Cost:
        run = Run(self, task)
        forget, guard = run["forget"], run["guard"]
        measured = 0 if run.settings["training_samples"] is not None else len(run["retain"]) + len(forget)
        trials = 1 if run.settings["alpha"] is not None else len(SHARES) + run.count("refine")
        trials *= len(_dampings(run))
        inference = run.scoring() + asks_validation(run) + (trials - 1) * (len(forget) + len(guard))
        return Cost(Streamed(inference, measured + len(forget)))

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        forget = run["forget"]
        run["guard"]
        run.score_before()
        goal = Goal.of(run)
        with run.undone_on_error() as before:
            if goal.reached(run.evaluate("forget")):
                return run.outcome("the forget set is at its target already", before, changed=False)
            samples = _original_importance(run)
            factor = accumulate_squares(run, [forget])
            measured, guard = run.save(), run.evaluate("guard")
            alphas = [s * samples / len(forget) for s in SHARES]
            if run.settings["alpha"] is not None:
                alphas = [run.number("alpha")]
            for damping in _dampings(run):
                stop = _search(run, goal, guard, measured, (damping, factor), alphas)
                if not stop:
                    break
            if stop:
                run.restore(measured)
                run.recomputed.append(Carrier("importance", "kept", "of all training samples"))
                return run.outcome(stop, before, changed=False, missed=True)
            if samples > len(forget):
                run.execute("retain_importance", {"retention": [samples, len(forget), factor]})
                run.recomputed.append(Carrier("importance", "recomputed", "of the retained samples"))
            run.chosen["samples_left"] = samples - len(forget)
            return run.outcome("the forget set is at its target", before)


def measure_importance(run: Run, sets: Sequence[Set]) -> int:
    """Store the importance of all these samples on the device; returns how many they are."""
    factor = accumulate_squares(run, sets)
    run.execute("store_importance", {"importance_factor": [factor]})
    return sum(len(held) for held in sets)


def accumulate_squares(run: Run, sets: Sequence[Set]) -> np.float32:
    """Sum the squared gradients of every sample; returns what makes the sum a mean without loss scale.

    Where a scaled gradient overflows FP16 the pass is repeated at half the loss scale.
    """
    executor, count = run.learner.executor, sum(len(held) for held in sets)
    norms = run.manifest.program("statistics").outputs[::2]
    while True:
        executor.run("zero_gradients")
        done = 0
        for held in sets:
            for number in range(held.batches):
                run.accumulate(held, [number], program="importance", clear=False)
                done += run.learner.rows
                run.event("importance", done, count)
        scale = float(executor.read(["loss_scale"])["loss_scale"][0])
        squares = executor.run("statistics", {}, norms)
        if all(np.isfinite(value).all() for value in squares.values()):
            return np.float32(1.0 / (count * scale * scale))
        if scale <= 1.0:
            raise DataError("the squared gradients of these samples overflow", "scale the inputs to about ±1")
        executor.write({"loss_scale": np.array([scale / 2], np.float32)})


def _original_importance(run: Run) -> int:
    """Have the importance of all training samples on the device; returns their number."""
    given = run.settings["training_samples"]
    forget = run["forget"]
    if given is None:
        samples = measure_importance(run, [forget, run["retain"]])
        run.chosen["training_samples"] = samples
        return samples
    samples = run.count("training_samples")
    if samples < len(forget):
        raise OptionError(
            f"training_samples is {samples}, and {len(forget)} are to be forgotten", "give the number of all"
        )
    names = [t.name for t in run.manifest.tensors if t.name.endswith(".importance")]
    if not any(array.any() for array in run.learner.executor.read(names).values()):
        raise OptionError(
            "no importance is stored on this device", "leave out training_samples and give --retain"
        )
    return samples


def _dampings(run: Run) -> tuple[float, ...]:
    return DAMPINGS if run.settings["damping"] is None else (run.number("damping"),)


def _search(
    run: Run,
    goal: Goal,
    guard: Evaluation,
    start: Snapshot,
    how: tuple[float, np.float32],
    alphas: Sequence[float],
) -> str:
    """Dampen with falling thresholds; returns why it failed, or nothing and leaves the network dampened.

    ``guard`` is what the guard set scored at ``start``; ``how`` is λ, and what makes the accumulated
    squares a mean.
    """
    halvings = run.count("refine") if len(alphas) > 1 else 0
    total, waiting = len(alphas) + halvings, list(alphas)
    # the smallest threshold that forgets too little, and the largest that forgets but hurts
    above, below = alphas[0] / SHARES[0], 0.0
    found = ""
    for trial in range(1, total + 1):
        if not waiting:
            break
        alpha = waiting.pop(0)
        run.restore(start)
        got = run.execute("dampen", {"dampening": [alpha, *how]}, ["selected"], changes=True)
        found = describe(run, "forget")
        # harm grows with forgetting: the guard set is only worth its time where there is enough of that
        enough = goal.reached(run.evaluate("forget"))
        hurt = enough and goal.hurt(guard, run.evaluate("guard"))
        if enough:
            found += f", {describe(run, 'guard')}"
        run.event(f"thresholds, λ = {how[0]:g}", trial, total, found)
        run.chosen["thresholds"] = int(run.chosen.get("thresholds") or 0) + 1
        if enough and not hurt:
            selected = int(got["selected"][0])
            run.chosen.update(alpha=float(np.float32(alpha)), damping=how[0], selected=selected)
            return ""
        if hurt:
            below = alpha
        else:
            above = alpha
        if below:
            waiting = [float(np.sqrt(above * below))]
    if below:
        return f"put back: the guard set suffers before the forget set is at its target ({found})"
    return f"put back: no threshold brings the forget set to its target ({found})"
