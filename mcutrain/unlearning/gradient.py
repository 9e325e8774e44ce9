"""Steps away from the forget set: one family of losses that differ in their gradient by the scores.

ascent (Golatkar et al., *Eternal Sunshine of the Spotless Net*, 2020), negative preference (Zhang et al.,
*Negative Preference Optimization*, 2024), inverted hinge (Cha et al., *Towards Robust and
Parameter-Efficient Knowledge Unlearning for LLMs*, 2025), random labels (Graves et al., *Amnesiac Machine
Learning*, 2021), uniform scores.  Each may take steps on retained samples in between, leave out what
opposes the retained gradient (Huang et al., *Unified Gradient-Based Machine Unlearning with Remain
Geometry Enhancement*, 2024), and touch masked weights only: those of the largest gradient (Fan et al.,
*SalUn*, 2024) or of the largest product of weight and gradient (Jia et al., *WAGLE*, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mcutrain.errors import OptionError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest
from mcutrain.unlearning import choice
from mcutrain.unlearning.base import Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.goal import GUARD_POINTS, GUARD_RISE, TARGET, Goal, asks_validation, describe
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run

_MODES = {
    "ascent": choice.ASCENT,
    "npo": choice.NPO,
    "inverted-hinge": choice.INVERTED_HINGE,
    "random-label": choice.CROSS_ENTROPY,
    "uniform": choice.UNIFORM,
}
#: Kinds of mask in ``mask_rule``.
_KINDS = {"saliency": 0, "wagle": 1}
#: Factors of the learning rate where it adapts: after an epoch too slow to reach the target in time, and
#: after one that hurt the guard set.
_FASTER, _SLOWER = 1.5, 1 / 3
#: Purposes of random numbers, see :meth:`Run.rng`.
_LABELS, _FORGET, _RETAIN = 1, 2, 3


@register
class Gradient(Method):
    name = "gradient"
    summary = "steps that undo what the forget set taught, with steps on retained samples in between"
    honesty = "suppression"
    variants = (
        Variant("npo", "negative preference: ascent that fades as the sample is forgotten"),
        Variant("ascent", "ascent on the loss of the forget set"),
        Variant("inverted-hinge", "moves probability from the true class to the runner-up"),
        Variant("random-label", "descent towards other labels, drawn once"),
        Variant("uniform", "descent towards equal scores of all classes"),
    )
    needs_retain = "a few hundred samples help; none with retain_steps=0"
    memory_words = "none; with projection 4 bytes, with a mask 1 byte a trained parameter"
    cost_words = "epochs x forget set, and as much again for each retain step, forward and backward"
    options = (
        TARGET,
        GUARD_POINTS,
        GUARD_RISE,
        Option("epochs", int, 15, "passes over the forget set at most", 1, 10_000),
        Option("lr", float, 0.01, "learning rate, at first", 0, 1e3),
        Option(
            "adapt",
            bool,
            True,
            "raise the rate by half where the target comes too slowly; where the guard set suffers, a third "
            "of it for steps on forgotten samples, and back to what it bears when that does not help",
        ),
        Option("batch", int, 8, "device batches an optimizer step takes", 1, 1 << 20),
        Option(
            "retain_steps", int, 2, "steps on retained samples before each step on forgotten ones", 0, 1000
        ),
        Option(
            "retain_weight", float, 1.0, "learning rate of retain steps over that of forget steps", 0, 1e3
        ),
        Option(
            "patience", int, 5, "checks in a row at which the guard set may suffer before it stops", 0, 10_000
        ),
        Option("projection", bool, False, "remove from each forget step what opposes the retain gradient"),
        Option("mask", str, "none", "which weights may change", choices=("none", *_KINDS)),
        Option("mask_share", float, 0.5, "share of the weights that a mask lets change", 0, 1),
        Option("beta", float, 0.1, "how soon negative preference fades", 1e-6, 1e3, variants=("npo",)),
    )

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        needed: dict[str, tuple[str, ...]] = {"gradient": ("unlearn_step",)}
        if settings["projection"]:
            needed["gradient+projection"] = ("hold_gradient", "project_gradient")
        if settings["mask"] != "none":
            needed["gradient+mask"] = ("select_mask", "masked_apply")
        return needed

    def memory(self, manifest: Manifest) -> int:
        suffixes = (".held", ".mask")
        return sum(t.nbytes for t in manifest.tensors if t.name.endswith(suffixes))

    def cost(self, task: Task) -> Cost:
        run = Run(self, task)
        forget, batch = run["forget"], run.count("batch")
        per_epoch = -(-forget.batches // batch)
        retained = _retain_steps(run) * min(batch, run["retain"].batches) if _retain_steps(run) else 0
        gradient = len(forget) + per_epoch * retained * run.learner.rows
        masked = len(forget) if run.settings["mask"] != "none" else 0
        checks = (run.count("epochs") - 1) * (len(forget) + len(run.sets.get("guard", ())))
        cached = len(forget) if run.variant == "npo" else 0
        steps = run.count("epochs") * per_epoch * (1 + _retain_steps(run))
        inference = run.scoring() + asks_validation(run) + checks + cached
        return Cost(Streamed(inference, run.count("epochs") * gradient + masked), steps)

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        _check(run)
        run.score_before()
        goal = Goal.of(run)
        with run.undone_on_error() as before:
            if goal.reached(run.evaluate("forget")):
                return run.outcome("the forget set is at its target already", before, changed=False)
            run.clear_momentum()
            extra, targets = _forget_loss(run)
            if run.settings["mask"] != "none":
                _select_mask(run)
            stop, changed = _forget(run, goal, extra, targets)
            missed = goal.target is not None and not goal.reached(run.evaluate("forget"))
            return run.outcome(stop, before, changed=changed, missed=missed)


def _check(run: Run) -> None:
    if not run.classify and run.variant != "ascent":
        raise OptionError(
            f"gradient:{run.variant} works on the scores of classes",
            "use ascent, or distill for a regression",
        )
    if run.variant == "npo" and run.learner.rows > 1:
        raise OptionError(
            "gradient:npo looks at single samples, the model takes several at a time",
            "export the model with a batch of one",
        )
    if run.variant == "random-label" and run.learner.classes < 2:
        raise OptionError("there is no other label than the only class", "use another method")
    if _retain_steps(run):
        run["retain"]
    elif run.settings["projection"]:
        raise OptionError(
            "projection needs the gradient of retained samples", "set retain_steps to 1 or more"
        )


def _retain_steps(run: Run) -> int:
    return run.count("retain_steps")


def _forget_loss(run: Run) -> tuple[choice.Extra, Array | None]:
    """The loss on the forget set, and its labels where they are not the true ones."""
    forget, mode = run["forget"], _MODES[run.variant]
    if not run.classify:
        return choice.choice(run, choice.CROSS_ENTROPY, -1.0), None
    if run.variant == "npo":
        log_p = choice.log_probabilities(run, run.infer(forget))
        log_p0 = log_p[np.arange(len(forget)), forget.labels()]
        return choice.choice(run, mode, beta=run.number("beta"), log_p0=log_p0), None
    if run.variant == "random-label":
        offset = run.rng(_LABELS).integers(1, run.learner.classes, len(forget))
        return choice.choice(run, mode), ((forget.labels() + offset) % run.learner.classes).astype(np.int32)
    return choice.choice(run, mode), None


def _select_mask(run: Run) -> None:
    """Let the share of weights change that a rule on the forget set's gradient names."""
    run.accumulate(run["forget"])
    names = [t.name for t in run.manifest.trained()]
    got = run.learner.executor.read([f"{name}.gradient" for name in names])
    scores = [got[f"{name}.gradient"] for name in names]
    kind = str(run.settings["mask"])
    if kind == "wagle":
        weights = run.learner.executor.read(names)
        scores = [weights[name] * score for name, score in zip(names, scores, strict=True)]
    ordered = np.sort(np.abs(np.concatenate([score.reshape(-1) for score in scores])))
    kept = round(run.number("mask_share") * ordered.size)
    # more than the largest that is left out; everything that isn't zero where nothing is
    threshold = ordered[ordered.size - kept - 1] if kept < ordered.size else np.float32(0)
    rule = {"mask_rule": [_KINDS[kind], threshold]}
    run.chosen["selected"] = int(run.execute("select_mask", rule, ["selected"])["selected"][0])


def _forget(run: Run, goal: Goal, extra: choice.Extra, targets: Array | None) -> tuple[str, bool]:
    """Epochs over the forget set; returns why it stopped, and whether the network changed."""
    lr = run.number("lr")
    keeping = lr * run.number("retain_weight")
    guarded = "guard" in run.sets
    base = run.evaluate("guard") if guarded else None
    best, improved, suffering = run.save(), False, 0
    rng, retained = run.rng(_FORGET), _retained(run)
    epochs, adapt, reached = run.count("epochs"), bool(run.settings["adapt"]), run.evaluate("forget")
    for epoch in range(epochs):
        order, phase = rng.permutation(run["forget"].batches), f"epoch {epoch + 1}/{epochs}"
        _epoch(run, order, (lr, keeping), retained, extra, targets, phase)
        scored = run.evaluate("forget")
        hurt = base is not None and goal.hurt(base, run.evaluate("guard"))
        note = describe(run, "forget") + (f", {describe(run, 'guard')}" if guarded else "")
        run.event("epoch", epoch + 1, epochs, note)
        run.chosen["epochs_done"] = epoch + 1
        if not hurt and (scored.loss is None or np.isfinite(scored.loss)):
            best, improved, suffering = run.save(), True, 0
            if goal.reached(scored):
                return "the forget set is at its target", True
            if adapt and goal.slow(reached, scored, epochs - epoch - 1):
                lr, keeping = lr * _FASTER, keeping * _FASTER
            reached = scored
            run.chosen["rate"] = lr
            continue
        suffering += 1
        if suffering > run.count("patience"):
            run.restore(best)
            kept = "the last weights that it bears are kept" if improved else "everything is put back"
            return f"the guard set suffers ({note}): {kept}", improved
        if adapt:
            lr *= _SLOWER
            run.chosen["rate"] = lr
            # retain steps may mend in an epoch what a step too long has broken
            if suffering % 2 == 0:
                run.restore(best)
    if suffering:
        run.restore(best)
    return f"all epochs are done ({describe(run, 'forget')})", improved


def _epoch(
    run: Run,
    order: Array,
    rates: tuple[float, float],
    retained: Iterator[Array],
    extra: choice.Extra,
    targets: Array | None,
    phase: str,
) -> None:
    """Steps over the forget set in ``order``, and retain steps before each; ``rates`` of both."""
    forget, batch = run["forget"], run.count("batch")
    update = "masked_apply" if run.settings["mask"] != "none" else "apply"
    for start in range(0, forget.batches, batch):
        for _ in range(_retain_steps(run)):
            chosen = next(retained)
            run.accumulate(run["retain"], chosen)
            if run.settings["projection"]:
                run.execute("hold_gradient")
            run.apply(rates[1], len(chosen), program=update)
        chosen = order[start : start + batch]
        run.accumulate(forget, chosen, targets=targets, program="unlearn_step", extra=extra)
        if run.settings["projection"]:
            run.execute("project_gradient")
        run.apply(rates[0], len(chosen), program=update)
        run.event(phase, min(start + batch, forget.batches), forget.batches)


def _retained(run: Run) -> Iterator[Array]:
    """Batches of the retain set for one retain step each, without end, every sample once an epoch."""
    if not _retain_steps(run):
        return
    rng, batches = run.rng(_RETAIN), run["retain"].batches
    size = min(run.count("batch"), batches)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += [int(i) for i in rng.permutation(batches)]
        yield np.array(waiting[:size])
        waiting = waiting[size:]
