"""Selective synaptic dampening (Foster et al., *Fast Machine Unlearning Without Retraining Through
Selective Synaptic Dampening*, 2024), with importances of single samples.

Importance is the mean over samples of the squared gradient: I_o over all
training data, kept on the device in a byte a parameter, and I_f over the
samples to forget.  Where I_f > α·I_o a parameter is multiplied by
min(λ·I_o / I_f, 1).  As I_f / I_o is at most N / n_f, α is searched downwards
from there until the forget set is forgotten; the guard set says when that is
too much, and then everything is put back.

I_o is put together of two means, I_o = (n_r·I_r + n_f·I_f) / N.  The forget
set is measured whole, which keeps that bound; of the n_r retained samples a
part that stands for all is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcutrain.errors import DataError, OptionError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest
from mcutrain.unlearning.base import Carrier, Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.goal import GUARD_POINTS, TARGET, Goal, asks_validation
from mcutrain.unlearning.layers import check_depth
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run, Set
from mcutrain.unlearning.thresholds import DAMPINGS, FIRST_LOOKS, Search, depths

#: Purpose of random numbers, see :meth:`Run.rng`.
_SAMPLE = 1


@register
class Ssd(Method):
    name = "ssd"
    summary = "dampens the weights that matter more to the forget set than to the rest"
    honesty = "suppression"
    variants = (Variant("search", "searches the threshold downwards, guarded"),)
    needs_retain = "a guard set; the retained data once, unless the importance is stored"
    memory_words = "1 byte a trained parameter"
    cost_words = (
        "retained data forward once, forget set and a part of them backward, then two to four times forget "
        "and guard set forward"
    )
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
            "layers",
            int,
            None,
            "dampen only the last layers, so many; by default all, and where the guard set suffers from that "
            "the last one",
            1,
            1 << 16,
        ),
        Option(
            "importance_samples",
            int,
            160,
            "retained samples, at most, that the importance of all is estimated from",
            32,
            1 << 31,
        ),
        Option(
            "search_samples",
            int,
            None,
            "samples scored after which no further threshold is tried; by default twice the forget and "
            "guard sets",
            0,
            1 << 31,
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
        forget, guard, retain = len(run["forget"]), len(run["guard"]), 0
        _depths(run)
        gradient, inference = forget, run.scoring() + asks_validation(run)
        if run.settings["training_samples"] is None:
            retain = len(run["retain"])
            gradient += min(retain, run.count("importance_samples"))
            inference += retain - (guard if run.guard_is_drawn else 0)
        one = forget + guard + FIRST_LOOKS
        search = _search_budget(run) + one
        if run.settings["alpha"] is not None:
            search = min(search, len(_dampings(run)) * one)
        return Cost(Streamed(inference + search, gradient))

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        forget = run["forget"]
        run["guard"]
        tried = _depths(run)
        goal = Goal.of(run)
        with run.undone_on_error() as before:
            if goal.reached(run.evaluate("forget")):
                run.score_before()
                return run.outcome("the forget set is at its target already", before, changed=False)
            known = measure(run)
            guard = run.evaluate("guard")
            search = Search(
                run, goal, guard, known.samples / len(forget), float(known.factor), _search_budget(run)
            )
            alpha = None if run.settings["alpha"] is None else run.number("alpha")
            stop = search.search(tried, _dampings(run), alpha)
            if stop:
                run.recomputed.append(Carrier("importance", "kept", "of all training samples"))
                return run.outcome(stop, before, changed=False, missed=True)
            known.forget(run)
            run.chosen["samples_left"] = known.samples - len(forget)
            return run.outcome("the forget set is at its target", before)


@dataclass(frozen=True)
class Known:
    """What the device holds: I_o, and squares of the forget set."""

    #: N
    samples: int
    #: what makes the accumulated squares the mean I_f
    factor: np.float32
    #: codes of I_r by tensor, where it was measured
    retained: Mapping[str, Array] | None = None

    def forget(self, run: Run) -> None:
        """Leave I_r on the device, the importance of who is left."""
        gone = len(run["forget"])
        if self.retained is not None:
            run.learner.executor.write(self.retained)
        elif self.samples > gone:
            run.execute("retain_importance", {"retention": [self.samples, gone, self.factor]})
        else:
            return
        run.recomputed.append(Carrier("importance", "recomputed", "of the retained samples"))


def store_importance(run: Run, factor: np.float32) -> None:
    """Keep the accumulated squares as importance; ``factor`` makes them a mean."""
    run.execute("store_importance", {"importance_factor": [factor]})


def accumulate_squares(run: Run, held: Set, chosen: Sequence[Array] | None = None) -> np.float32:
    """Sum the squared gradients of samples; returns what makes the sum a mean without loss scale.

    Of ``chosen``, those of ``[i]`` count ``4 ** i`` times; all count once by default.  Where a scaled
    gradient overflows FP16 the pass is repeated at half the loss scale.
    """
    executor, norms = run.learner.executor, run.manifest.program("statistics").outputs[::2]
    levels = [np.arange(held.batches)] if chosen is None else chosen
    total, count = sum(map(len, levels)), sum(len(rows) * 4**level for level, rows in enumerate(levels))
    while True:
        executor.run("zero_gradients")
        scale, done = float(executor.read(["loss_scale"])["loss_scale"][0]), 0
        for level, rows in enumerate(levels):
            executor.write({"loss_scale": np.array([scale * 2**level], np.float32)})
            for number in rows:
                run.accumulate(held, [number], program="importance", clear=False)
                done += 1
                run.event("importance", done, total)
        executor.write({"loss_scale": np.array([scale], np.float32)})
        squares = executor.run("statistics", {}, norms)
        if all(np.isfinite(value).all() for value in squares.values()):
            return np.float32(1.0 / (count * scale * scale))
        if scale <= 1.0:
            raise DataError("the squared gradients of these samples overflow", "scale the inputs to about ±1")
        executor.write({"loss_scale": np.array([scale / 2], np.float32)})


def measure(run: Run) -> Known:
    """Have I_o on the device, and squares of the forget set in the accumulators."""
    forget = run["forget"]
    if run.settings["training_samples"] is not None:
        samples = _stored(run)
        return Known(samples, accumulate_squares(run, forget))
    retain = run["retain"]
    most = run.count("importance_samples")
    labels = retain.labels() if run.classify else np.zeros(len(retain), np.int64)
    chosen = representatives(run.losses("retain"), labels, most, run.rng(_SAMPLE))
    store_importance(run, accumulate_squares(run, retain, chosen))
    retained = run.learner.executor.read(_importances(run))
    factor = accumulate_squares(run, forget)
    # the mean without -n_f samples is the mean with n_f more
    run.execute("retain_importance", {"retention": [len(retain), -len(forget), factor]})
    samples = len(retain) + len(forget)
    run.chosen.update(training_samples=samples, importance_samples=sum(map(len, chosen)))
    return Known(samples, factor, retained)


def portions(count: int, most: int) -> list[int]:
    """How many samples stand for 1, 4, 16 … of ``count`` ones: together all of them, at most ``most``.

    Each of these weights has about as many.  A weight is the square of a power of two, so that the loss
    scale can multiply gradients by its root.
    """
    if most >= count:
        return [count]
    levels = 2
    while most // levels * (4**levels - 1) // 3 < count:
        levels += 1
    while sum(found := _split(count, levels, 0)) > most and 4**levels <= count:
        levels += 1
    for each in range(1, most):
        tried = _split(count, levels, each)
        if sum(tried) <= most:
            found = tried
    return found


def _split(count: int, levels: int, each: int) -> list[int]:
    """``each`` samples, or a few more, of all weights but the largest, which takes what is left."""
    found = [0] * levels
    for level in reversed(range(levels)):
        below = each * (4**level - 1) // 3
        found[level] = max(count - below, 0) // 4**level
        count -= found[level] * 4**level
    return found


def representatives(losses: Array, labels: Array, most: int, rng: np.random.Generator) -> list[Array]:
    """Indices of samples that stand for all: those of ``[i]`` for ``4 ** i`` each.

    Gradients rise with the loss.  The samples of the highest losses, among all and in each class, stand for
    themselves, the others in groups of alike ones (by class and loss) for which one is drawn.
    """
    falling = np.argsort(-losses, kind="stable")
    classes = np.unique(labels)
    rank = np.zeros(len(losses), np.int64)
    rank[falling] = np.arange(len(losses))
    for label in classes:
        own = falling[labels[falling] == label]
        rank[own] = np.minimum(rank[own], np.arange(len(own)) * len(classes))
    ranked = falling[np.argsort(rank[falling], kind="stable")]
    chosen, start = [], 0
    for level, groups in enumerate(portions(len(losses), most)):
        rows = ranked[start : start + groups * 4**level]
        start += len(rows)
        alike = rows[np.lexsort((-losses[rows], labels[rows]))].reshape(groups, 4**level)
        chosen.append(np.sort(alike[np.arange(groups), rng.integers(4**level, size=groups)]))
    return chosen


def _importances(run: Run) -> list[str]:
    return [t.name for t in run.manifest.tensors if t.name.endswith(".importance")]


def _stored(run: Run) -> int:
    """The number of samples behind the importance that the device holds."""
    forget = run["forget"]
    samples = run.count("training_samples")
    if samples < len(forget):
        raise OptionError(
            f"training_samples is {samples}, and {len(forget)} are to be forgotten", "give the number of all"
        )
    if not any(array.any() for array in run.learner.executor.read(_importances(run)).values()):
        raise OptionError(
            "no importance is stored on this device", "leave out training_samples and give --retain"
        )
    return samples


def _search_budget(run: Run) -> int:
    """Samples that the search may stream before it gives up."""
    if run.settings["search_samples"] is not None:
        return run.count("search_samples")
    return 2 * (len(run["forget"]) + len(run["guard"]))


def _dampings(run: Run) -> tuple[float, ...]:
    return DAMPINGS if run.settings["damping"] is None else (run.number("damping"),)


def _depths(run: Run) -> tuple[int, ...]:
    known = depths(run.manifest)
    if run.settings["layers"] is not None:
        layers = run.count("layers")
        check_depth("layers", layers, run.manifest)
        return (layers,)
    return known[:1] if run.settings["alpha"] is not None else known
