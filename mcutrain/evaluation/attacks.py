"""Attempts to bring the forgotten back: relearning, export, learning on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcutrain.errors import DivergedError
from mcutrain.evaluation.observe import Observer
from mcutrain.evaluation.schedule import Schedule
from mcutrain.executor import Array
from mcutrain.learning import Learner

#: Optimizer steps after which a relearning attack is measured.
RELEARN_STEPS = (2, 5, 10, 20)
#: Samples it has.
RELEARN_SAMPLES = 20


class Bench:
    """One learner that holds one model after another, each from a clean state."""

    def __init__(self, learner: Learner, schedule: Schedule) -> None:
        self.learner = learner
        self.observer = Observer(learner)
        self.schedule = schedule
        state = [t.name for t in learner.manifest.tensors if t.kind == "state"]
        #: momentum, loss scale and its counters as they are at power-up
        self._rest = learner.executor.read([n for n in state if not n.endswith(".gradient")])

    def hold(self, weights: Mapping[str, Array]) -> None:
        """Load a model; nothing of the one before stays."""
        self.learner.executor.write(self._rest)
        self.learner.load(weights)

    def relearn(
        self,
        weights: Mapping[str, Array],
        x: Array,
        y: Array,
        asked: Array,
        *,
        seed: int = 0,
    ) -> dict[int, Array]:
        """Train on the few samples ``x``, ``y`` and give the logits of ``asked`` after 2, 5, 10 and 20 steps.

        A step takes all samples at once, at the schedule's first rate scaled by their number over the
        schedule's batch (linear scaling), so it moves about as far as training on them would.
        Where training diverges the remaining steps are missing.
        """
        self.hold(weights)
        results: dict[int, Array] = {}
        done = 0
        lr = self.schedule.phases[0].lr * max(1.0, len(x) / self.schedule.batch)
        for steps in RELEARN_STEPS:
            try:
                self._steps(x, y, steps - done, lr, len(x), seed)
            except DivergedError:
                break
            done = steps
            results[steps] = np.nan_to_num(self.observer.outputs(asked)[0])
        return results

    def learn_on(
        self, weights: Mapping[str, Array], x: Array, y: Array, asked: Array, *, seed: int = 0
    ) -> Array | None:
        """Logits of ``asked`` after one more epoch on retained data at the schedule's last rate:
        does the forgotten relapse?  None where training diverges."""
        self.hold(weights)
        try:
            self._steps(x, y, 1, self.schedule.phases[-1].lr, self.schedule.batch, seed)
        except DivergedError:
            return None
        return np.nan_to_num(self.observer.outputs(asked)[0])

    def _steps(self, x: Array, y: Array, epochs: int, lr: float, batch: int, seed: int) -> None:
        self.learner.train(
            x, y, epochs=epochs, lr=lr, batch=batch, momentum=self.schedule.momentum, seed=seed
        )


@dataclass(frozen=True)
class Export:
    """A way weights are stored for inference."""

    name: str
    title: str

    def round(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights as they come back from this form."""
        return {name: self._round(np.asarray(w, np.float32)) for name, w in weights.items()}

    def _round(self, w: Array) -> Array:
        if self.name == "fp16":
            return np.clip(w, -65504, 65504).astype(np.float16).astype(np.float32)
        if w.ndim < 2:
            return w  # biases stay wide: they are added to 32-bit sums
        # A scale for each output channel of a convolution [O, I, H, W], one for a whole matrix, whose
        # layout (transposed or not) a name does not tell.
        axes = tuple(range(1, w.ndim)) if w.ndim > 2 else None
        scale = np.abs(w).max(axis=axes, keepdims=True) / 127.0
        scale = np.where(scale > 0, scale, 1.0)
        return np.asarray(np.clip(np.rint(w / scale), -127, 127) * scale, np.float32)


#: Rounding may undo what only just moved a decision (Zhang et al. 2025, *Catastrophic failure of
#: LLM unlearning via quantization*).
EXPORTS = (Export("fp16", "stored as FP16"), Export("int8", "stored as INT8, symmetric"))
