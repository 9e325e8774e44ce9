"""Fine-tuning on the retained data under an l1 penalty (Jia et al., *Model Sparsity Can Simplify Machine
Unlearning*, 2023), and its relatives that reset or restrict layers (Goel et al., *Towards Adversarial
Evaluations for Inexact Machine Unlearning*, 2022).

Each optimizer step on retained samples is followed by the proximal step of the
l1 norm, w ← sgn(w)·max(|w| − lr·g_t, 0), with g_t falling linearly to zero.  The
penalty's strength is given as what it adds up to, so that it means the same for
any rate and number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcutrain.errors import OptionError
from mcutrain.events import Evaluation
from mcutrain.manifest import Manifest
from mcutrain.unlearning.base import Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.layers import backward_to, fresh_weights, last_layers, only_for
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run
from mcutrain.unlearning.trials import ruined, trial_options, weaken

#: Purpose of random numbers, see :meth:`Run.rng`.
_RESET, _ORDER = 1, 2
#: Variants that pull weights to zero.
_SPARSE = ("l1", "prune-first")


@register
class SparseFinetune(Method):
    name = "sparse-finetune"
    summary = "fine-tunes on the retained data with weights pulled to zero"
    honesty = "suppression"
    variants = (
        Variant("l1", "all layers, l1 proximal steps that fade out"),
        Variant("eu-k", "resets the last k layers to fresh weights and trains only these, without l1"),
        Variant("cf-k", "trains only the last k layers, without l1"),
        Variant("prune-first", "zeroes the smallest weights, then as l1"),
    )
    needs_retain = "yes, all that is to be kept"
    memory_words = "none"
    cost_words = "epochs x retained samples, forward and backward"
    options = (
        Option("epochs", int, 5, "passes over the retained data", 1, 10_000),
        Option("lr", float, 0.01, "learning rate", 0, 1e3),
        Option("batch", int, 8, "device batches an optimizer step takes", 1, 1 << 20),
        Option("momentum", float, 0.0, "momentum; needs a build with --momentum", 0, 1),
        Option(
            "l1",
            float,
            3.0,
            "how far a weight is pulled to zero over all steps, in mean magnitudes of the weights",
            0,
            1e6,
            variants=_SPARSE,
        ),
        *trial_options("l1", *_SPARSE),
        Option("k", int, 1, "layers counted from the last", 1, 1 << 16, variants=("eu-k", "cf-k")),
        Option(
            "sparsity", float, 0.5, "share of the weights that is pruned", 0, 1, variants=("prune-first",)
        ),
    )

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        programs = {"l1": ("shrink",), "prune-first": ("shrink", "prune")}.get(variant, ())
        return {self.name: programs} if programs else {}

    def memory(self, manifest: Manifest) -> int:
        return 0

    def cost(self, task: Task) -> Cost:
        run = Run(self, task)
        epochs, retain = run.count("epochs"), run["retain"]
        steps = epochs * -(-retain.batches // run.count("batch"))
        if run.variant not in _SPARSE:
            return Cost(Streamed(run.scoring(), epochs * len(retain)), steps, bound=False)
        tries = run.count("tries")
        checks = (tries * epochs - 1) * len(run["guard"])
        return Cost(Streamed(run.scoring() + checks, tries * epochs * len(retain)), tries * steps)

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        run["retain"]
        check_momentum(run)
        run.score_before()
        with run.undone_on_error() as before:
            run.clear_momentum()
            if self.variant_resets(run.variant):
                entries = last_layers(run.manifest, run.count("k"))
                run.write(fresh_weights(run.manifest, entries, run.rng(_RESET)))
            if run.variant not in _SPARSE:
                _fine_tune(run)
                return run.outcome("all epochs are done", before)
            base = run.evaluate("guard")
            failed = weaken(run, "l1", lambda l1: _sparsify(run, l1, base))
            return run.outcome(
                failed or "all epochs are done", before, changed=not failed, missed=bool(failed)
            )

    @staticmethod
    def variant_resets(variant: str) -> bool:
        """Whether the last layers start from fresh weights."""
        return variant == "eu-k"


def check_momentum(run: Run) -> None:
    """Raise OptionError for momentum in a build without its buffers."""
    if run.number("momentum") and not run.manifest.options.momentum:
        raise OptionError("this build has no momentum buffers", "compile it with --momentum")


def _prune(run: Run) -> None:
    """Zero the smallest weights of all trained layers together; biases stay."""
    names = [t.name for t in run.manifest.trained() if t.name.endswith(".weight")]
    weights = run.learner.executor.read(names)
    sizes = np.sort(np.concatenate([np.abs(w.astype(np.float32)).reshape(-1) for w in weights.values()]))
    threshold = sizes[min(int(run.number("sparsity") * sizes.size), sizes.size - 1)]
    got = run.execute("prune", {"threshold": [threshold]}, ["selected"], changes=True)
    run.chosen["pruned"] = int(got["selected"][0])


def _mean_magnitude(run: Run) -> float:
    names = [t.name for t in run.manifest.trained() if t.name.endswith(".weight")]
    weights = run.learner.executor.read(names).values()
    return sum(float(np.abs(w, dtype=np.float64).sum()) for w in weights) / sum(w.size for w in weights)


def _sparsify(run: Run, l1: float, base: Evaluation) -> None:
    if run.variant == "prune-first":
        _prune(run)
    _fine_tune(run, _mean_magnitude(run) * l1, base)


def _fine_tune(run: Run, strength: float = 0.0, base: Evaluation | None = None) -> None:
    """Epochs over the retained set, in an order drawn anew each time.

    ``strength`` is what the thresholds of the proximal steps add up to.  It ends early where the network is
    ruined for the guard set, which scored ``base`` before.
    """
    retain, lr, batch = run["retain"], run.number("lr"), run.count("batch")
    epochs, rng = run.count("epochs"), run.rng(_ORDER)
    updates, backward = [], None
    if "k" in run.settings:
        names = [t.name for t in last_layers(run.manifest, run.count("k"))]
        updates = only_for(run.manifest, "apply", names)
        backward = backward_to(run.manifest, "train_step", names)
    total, done = epochs * -(-retain.batches // batch), 0
    for _ in range(epochs):
        order = rng.permutation(retain.batches)
        for start in range(0, retain.batches, batch):
            chosen = order[start : start + batch]
            loss = run.accumulate(retain, chosen, calls=backward)
            run.apply(lr, len(chosen), momentum=run.number("momentum"), calls=updates)
            if strength:
                # thresholds that fall linearly and add up to the strength
                fading = np.float32(strength * 2.0 * (total - done) / (total * (total + 1)))
                run.execute("shrink", {"threshold": [fading]}, changes=True)
            done += 1
            run.event("fine-tuning", done, total, f"loss {loss:.4f}")
        if base is not None and ruined(run, base):
            return
