"""Distillation: imitate a teacher where knowledge shall stay, and another one, or none, where it shall go.

scrub (Kurmanji et al., *Towards Unbounded Machine Unlearning*, 2023): away from
the original network on the forget set, towards it on the retained data, in
turns.  bad-teacher (Chundawat et al., *Can Bad Teaching Induce Forgetting?*,
2023): towards a network of random weights on the forget set.  blindspot (Tarun
et al., *Deep Regression Unlearning*, 2023): towards a network that saw little,
and nothing of the forget set; for a regression also in where the activations
below the last layer are strong.  gaussian (same work): the forget set's targets
are drawn anew from the distribution of all targets.

Teachers run on the device too, before the first step; what they say is cached
on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mcutrain.errors import OptionError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest
from mcutrain.numerics import math as f32
from mcutrain.unlearning.base import Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.choice import (
    DISTIL,
    L1,
    PROBABILITIES,
    Extra,
    Source,
    choice,
    descend,
    log_probabilities,
)
from mcutrain.unlearning.goal import TARGET, Goal, asks_validation
from mcutrain.unlearning.layers import fresh_weights
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run, Set
from mcutrain.unlearning.sparse_finetune import check_momentum
from mcutrain.unlearning.trials import ruined, trial_options, weaken

#: Purposes of random numbers, see :meth:`Run.rng`.
_TEACHER, _ORDER, _PROXY, _TARGETS = 1, 2, 3, 4
#: Teachers by variant, on the forget set; scrub's is the original, which it leaves.
_TEACHERS = ("scrub", "bad-teacher", "blindspot")


@register
class Distill(Method):
    name = "distill"
    summary = "imitates teachers: the old network on the retained data, an ignorant one on the forget set"
    honesty = "suppression"
    variants = (
        Variant("scrub", "turns between leaving the original on the forget set and keeping to it elsewhere"),
        Variant("bad-teacher", "a random network teaches the forget set, the original the rest"),
        Variant("blindspot", "a network trained briefly on the retained data teaches the forget set"),
        Variant("gaussian", "for regressions: the forget set gets targets drawn from those of all"),
    )
    needs_retain = "yes, all that is to be kept"
    memory_words = "none; 2 bytes a class and sample on the host"
    cost_words = "epochs x (retained + forget set), forward and backward, and the teachers' inferences"
    options = (
        replace(TARGET, variants=("scrub",)),
        Option("epochs", int, 5, "passes over the retained data", 1, 10_000),
        Option(
            "forget_epochs",
            int,
            4,
            "first epochs that also pass over the forget set, until it is at its target",
            1,
            10_000,
            variants=("scrub",),
        ),
        Option("lr", float, 0.01, "learning rate", 0, 1e3),
        Option("batch", int, 8, "device batches an optimizer step takes", 1, 1 << 20),
        Option("momentum", float, 0.0, "momentum; needs a build with --momentum", 0, 1),
        Option("temperature", float, 1.0, "of the teachers' scores", 0.1, 100, variants=_TEACHERS),
        Option("forget_weight", float, 2.0, "weight of the forget set", 0, 1e3, variants=("scrub",)),
        Option("forget_weight", float, 1.0, "weight of the forget set", 0, 1e3, variants=_TEACHERS[1:]),
        Option(
            "imitation",
            float,
            0.5,
            "weight of the original's scores on retained samples",
            0,
            1e3,
            variants=("scrub",),
        ),
        Option("labels", float, 0.5, "weight of the labels on retained samples", 0, 1e3, variants=("scrub",)),
        Option(
            "proxy_epochs",
            int,
            1,
            "passes over the retained data that train the ignorant network",
            1,
            10_000,
            variants=("blindspot",),
        ),
        Option(
            "proxy_lr", float, 0.01, "learning rate of the ignorant network", 0, 1e3, variants=("blindspot",)
        ),
        Option(
            "attention",
            float,
            50.0,
            "weight of the difference between attention maps, for a regression",
            0,
            1e6,
            variants=("blindspot",),
        ),
        *trial_options("rate", "scrub"),
        Option("cache", str, "f16", "type of the cached scores", choices=("f16", "f32"), variants=_TEACHERS),
    )

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        return {} if variant == "gaussian" else {"distill": ("unlearn_step",)}

    def memory(self, manifest: Manifest) -> int:
        return 0

    def cost(self, task: Task) -> Cost:
        run = Run(self, task)
        forget, retain = run["forget"], run["retain"]
        epochs, batch = run.count("epochs"), run.count("batch")
        both = -(-(forget.batches + retain.batches) // batch)
        inference, gradient = run.scoring(), epochs * (len(forget) + len(retain))
        steps = epochs * both
        if run.variant == "scrub":
            forgetting = min(epochs, run.count("forget_epochs"))
            inference += (1 + forgetting) * len(forget) + len(retain) + asks_validation(run)
            gradient = forgetting * len(forget) + epochs * len(retain) * len(_retain_terms(run))
            tries, guard = run.count("tries"), len(run["guard"])
            inference += (tries - 1) * forgetting * len(forget) + (tries * epochs - 1) * guard
            gradient, steps = tries * gradient, tries * _scrub_steps(run)
        elif run.variant == "bad-teacher":
            inference += len(forget) + len(retain)
        elif run.variant == "blindspot":
            maps = any(program.name == "attention" for program in run.manifest.programs)
            inference += len(forget) * (1 + maps)
            gradient += run.count("proxy_epochs") * len(retain)
            steps += run.count("proxy_epochs") * -(-retain.batches // batch)
        return Cost(Streamed(inference, gradient), steps, bound=run.variant == "scrub")

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        _check(run)
        run.score_before()
        with run.undone_on_error() as before:
            run.clear_momentum()
            failed = _scrub(run) if run.variant == "scrub" else _mixed(run)
            return run.outcome(
                failed or "all epochs are done", before, changed=not failed, missed=bool(failed)
            )


def _check(run: Run) -> None:
    run["retain"]
    check_momentum(run)
    if run.variant == "scrub" and not _retain_terms(run):
        raise OptionError("imitation and labels are both 0", "give one of them a weight")
    if run.variant == "gaussian" and run.classify:
        raise OptionError("distill:gaussian is for regressions", "use gradient:random-label for classes")
    if run.variant in ("scrub", "bad-teacher") and not run.classify:
        raise OptionError(
            f"distill:{run.variant} works on the scores of classes",
            "use blindspot or gaussian for a regression",
        )


def _cached(run: Run, held: Set) -> Array:
    """The logarithms of the present network's probabilities on a set, rounded to the cache's type."""
    scores = log_probabilities(run, run.infer(held))
    return scores.astype(np.float16).astype(np.float32) if run.settings["cache"] == "f16" else scores


def _imitate(run: Run, scores: Array, weight: float) -> Extra:
    return choice(run, DISTIL, weight, temperature=run.number("temperature"), reference=scores)


def _retain_terms(run: Run) -> list[str]:
    """Passes that a retained sample needs: one where labels and scores mix into one distribution."""
    kinds = [name for name in ("imitation", "labels") if run.number(name)]
    return ["mixed"] if len(kinds) == 2 and run.number("temperature") == 1 else kinds


def _scrub_steps(run: Run) -> int:
    batch, epochs = run.count("batch"), run.count("epochs")
    kept = run["retain"].batches * len(_retain_terms(run))
    left = run["forget"].batches
    return min(epochs, run.count("forget_epochs")) * -(-left // batch) + epochs * -(-kept // batch)


def _scrub(run: Run) -> str:
    """Turns at falling rates until the guard set bears them; returns why everything was put back."""
    forget, retain = run["forget"], run["retain"]
    away = [Source(forget, "unlearn_step", _imitate(run, _cached(run, forget), -run.number("forget_weight")))]
    keep = _kept(run, _cached(run, retain))
    # away from the teacher there is no end: what is forgotten already would only do harm
    goal = Goal.of(run)
    return weaken(run, "lr", lambda lr: _turns(run, goal, away, keep, lr))


def _turns(run: Run, goal: Goal, away: list[Source], keep: list[Source], lr: float) -> None:
    base, epochs = run.evaluate("guard"), run.count("epochs")
    rng, total, done, leaving = run.rng(_ORDER), _scrub_steps(run), 0, True
    for epoch in range(epochs):
        if leaving and epoch < run.count("forget_epochs"):
            done = _epoch(run, away, rng, "leaving", (done, total), lr)
            leaving = not goal.reached(run.evaluate("forget"))
        done = _epoch(run, keep, rng, "keeping", (done, total), lr)
        if ruined(run, base):
            return


def _kept(run: Run, scores: Array) -> list[Source]:
    """What retained samples are taught: the original's scores and their labels."""
    retain = run["retain"]
    imitation, labels = run.number("imitation"), run.number("labels")
    if _retain_terms(run) == ["mixed"]:
        # p − q and p − e add up to one gradient against their mean
        onehot = np.eye(run.learner.classes, dtype=np.float32)[retain.labels()]
        shares = np.array([imitation, labels], np.float32) / np.float32(imitation + labels)
        mean = shares[0] * f32.exp(scores) + shares[1] * onehot
        return [
            Source(retain, "unlearn_step", choice(run, PROBABILITIES, imitation + labels, reference=mean))
        ]
    sources = []
    if imitation:
        sources.append(Source(retain, "unlearn_step", _imitate(run, scores, imitation)))
    if labels:
        sources.append(Source(retain, "unlearn_step", choice(run, 0, labels)))
    return sources


def _mixed(run: Run) -> str:
    """Epochs over retained and forget set together, each with its teacher; nothing is put back."""
    forget, retain, epochs = run["forget"], run["retain"], run.count("epochs")
    keep, done, before = Source(retain), 0, 0
    if run.variant == "gaussian":
        teach = Source(forget, targets=_drawn_targets(run))
    elif run.variant == "bad-teacher":
        keep = Source(retain, "unlearn_step", _imitate(run, _cached(run, retain), 1.0))
        with _borrowed(run):
            ignorant = _cached(run, forget)
        teach = Source(forget, "unlearn_step", _imitate(run, ignorant, run.number("forget_weight")))
    else:
        before = run.count("proxy_epochs") * -(-retain.batches // run.count("batch"))
        teach = _blindspot(run, before)
        done = before
    both = -(-(forget.batches + retain.batches) // run.count("batch"))
    rng = run.rng(_ORDER)
    for _ in range(epochs):
        done = _epoch(run, [teach, keep], rng, "distilling", (done, before + epochs * both))
    return ""


def _epoch(
    run: Run,
    sources: list[Source],
    rng: np.random.Generator,
    phase: str,
    progress: tuple[int, int],
    lr: float | None = None,
) -> int:
    return descend(
        run,
        sources,
        rng,
        lr=run.number("lr") if lr is None else lr,
        batch=run.count("batch"),
        momentum=run.number("momentum"),
        phase=phase,
        progress=progress,
    )


@contextmanager
def _borrowed(run: Run) -> Iterator[None]:
    """The device holds a network of fresh weights for a while, and then its own again."""
    own = run.save()
    run.write(fresh_weights(run.manifest, run.manifest.trained(), run.rng(_TEACHER)))
    yield
    run.restore(own)


def _blindspot(run: Run, steps: int) -> Source:
    """The forget set, taught by a network that saw the retained data only, and briefly."""
    forget, done, rng = run["forget"], 0, run.rng(_PROXY)
    weight = run.number("forget_weight")
    with _borrowed(run):
        for _ in range(run.count("proxy_epochs")):
            lr = run.number("proxy_lr")
            done = _epoch(run, [Source(run["retain"])], rng, "ignorant network", (done, steps), lr)
        taught = _cached(run, forget) if run.classify else run.infer(forget)
        attention = None if run.classify else _attention(run, forget)
    if run.classify:
        return Source(forget, "unlearn_step", _imitate(run, taught, weight))
    strength = 0.0 if attention is None else weight * run.number("attention")
    extra = choice(run, L1, weight, attention=attention, attention_weight=strength)
    return Source(forget, "unlearn_step", extra, taught)


def _attention(run: Run, held: Set) -> Array | None:
    """Where the present network's activations are strong, f32 [n, positions]; None in a build without it."""
    if all(program.name != "attention" for program in run.manifest.programs):
        return None
    learner, rows = run.learner, run.learner.rows
    source = run.manifest.program("attention").inputs[0]
    found = []
    for number in range(held.batches):
        batch = {source: learner.rows_of(held.samples, number * rows, source)}
        found.append(learner.executor.run("attention", batch, ["attention"])["attention"])
    run.inference += len(held)
    return np.concatenate(found)


def _drawn_targets(run: Run) -> Array:
    """Targets for the forget set, normal with the mean and deviation of the retained ones."""
    known = np.asarray(run["retain"].targets, np.float64)
    drawn = run.rng(_TARGETS).standard_normal((len(run["forget"]), *known.shape[1:]))
    return np.asarray(known.mean(axis=0) + known.std(axis=0) * drawn, np.float32)
