"""Stochastic gradient descent on a Learner: which samples make which step, and what is watched and told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from mcutrain.data import Samples
from mcutrain.divergence import Watch, advice
from mcutrain.errors import DivergedError, OptionError
from mcutrain.events import Applied, EpochEvent, Evaluation, Event, StepEvent, Training
from mcutrain.executor import Array
from mcutrain.manifest import Options

if TYPE_CHECKING:
    from mcutrain.learning import Learner


@dataclass(frozen=True)
class Hyper:
    """What an optimizer step takes."""

    lr: float
    momentum: float
    weight_decay: float

    def check(self, options: Options) -> None:
        """Raises OptionError for numbers out of range, or that a build with these options cannot take."""
        for name, value, low, high in (
            ("lr", self.lr, 0.0, 1e6),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, 1e6),
        ):
            if not (low <= value <= high):
                raise OptionError(f"{name} is {value}", f"give a number from {low:g} to {high:g}")
        if self.momentum and not options.momentum:
            raise OptionError(
                "this build has no momentum buffers", "compile it with --momentum, or train with momentum 0"
            )


@dataclass(frozen=True)
class Epoch:
    """One pass as far as it is due: the numbers of its steps, and the device batches that each takes."""

    number: int
    steps: tuple[tuple[int, Array], ...]
    #: whether the pass is made to its end
    whole: bool


@dataclass(frozen=True)
class Plan:
    """Which device batches make which optimizer step; the fields are those of ``Learner.train``."""

    epochs: int
    batch: int
    seed: int
    shuffle: bool
    exclude: Collection[int]
    span: tuple[int, int | None]

    def check(self, options: Options) -> None:
        """Raises OptionError for numbers out of range, or that a build with these options cannot take."""
        if self.epochs < 0 or self.batch < 1:
            raise OptionError(
                f"epochs is {self.epochs} and batch is {self.batch}", "give epochs ≥ 0 and batch ≥ 1"
            )
        if self.batch > 1 and options.immediate:
            raise OptionError(
                f"batch is {self.batch}, but this build updates its weights after every sample",
                "train with batch 1, or compile it without --immediate",
            )

    def steps(self, count: int) -> int:
        """Optimizer steps of an epoch over ``count`` device batches."""
        return -(-count // self.batch)

    def over(self, count: int) -> Iterator[Epoch]:
        """The epochs of which a step is due, over ``count`` device batches."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        steps = self.steps(count)
        first, last = self.span
        left_out = np.zeros(count, bool)
        left_out[list(self.exclude)] = True
        for epoch in range(self.epochs):
            # drawn for every epoch: the order of one must not depend on where training begins
            order = rng.permutation(count) if self.shuffle else np.arange(count)
            begin, end = max(first - epoch * steps, 0), steps
            if last is not None:
                end = min(end, last - epoch * steps)
            if end <= 0:
                return
            if begin >= steps:
                continue
            taken = [(step, order[step * self.batch : (step + 1) * self.batch]) for step in range(begin, end)]
            remaining = [(step, batches[~left_out[batches]]) for step, batches in taken]
            yield Epoch(epoch, tuple((step, b) for step, b in remaining if len(b)), end == steps)


class Descent:
    """One training run under way on checked samples and targets."""

    def __init__(
        self,
        learner: Learner,
        samples: Samples,
        targets: Array | Samples,
        hyper: Hyper,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._learner = learner
        self._samples = samples
        self._targets = targets
        self._hyper = hyper
        self._tell = on_event or (lambda event: None)
        classify = learner.manifest.options.loss == "cross-entropy"
        self._watch = Watch(log(learner.classes) if classify else None)
        #: the weights to go back to
        self._good = learner.snapshot()
        self._losses: list[float] = []
        self._streamed = 0

    def run(self, plan: Plan, validation: tuple[Array | Samples, Array | Samples] | None) -> Training:
        """All of ``plan``; raises DivergedError after the last good weights were put back."""
        history: list[EpochEvent] = []
        count = len(self._samples) // self._learner.rows
        for epoch in plan.over(count):
            loss, ratios, state = self._pass(epoch, plan.steps(count))
            if not epoch.whole:
                break
            self._good = self._learner.snapshot()
            checked: Evaluation | None = self._learner.evaluate(*validation) if validation else None
            event = EpochEvent(
                epoch.number + 1, plan.epochs, loss, ratios, state.skipped, state.loss_scale, checked
            )
            history.append(event)
            self._tell(event)
        return Training(tuple(history), tuple(self._losses), self._streamed)

    def _pass(self, epoch: Epoch, steps: int) -> tuple[float, dict[str, float], Applied]:
        """Mean loss over an epoch's samples, ratios at its first step, and the loss scaling after it."""
        ratios: dict[str, float] = {}
        total, trained = 0.0, 0
        state = Applied(1.0, 0)
        for step, batches in epoch.steps:
            loss, state = self._step(batches, ratios)
            total += loss * len(batches)
            trained += len(batches)
            self._losses.append(loss)
            self._streamed += len(batches) * self._learner.rows
            reason = self._watch.diverged(loss, state.loss_scale, state.skipped)
            if reason:
                self._learner.executor.write(self._good)
                kept = f"of epoch {epoch.number}" if epoch.number else "before training"
                raise DivergedError(
                    f"training diverged in epoch {epoch.number + 1}, step {step + 1}: {reason}; "
                    f"the weights {kept} were put back",
                    advice(self._hyper.lr, ratios),
                )
            self._tell(StepEvent(epoch.number + 1, step + 1, steps, loss))
        return total / max(trained, 1), ratios, state

    def _step(self, batches: Array, ratios: dict[str, float]) -> tuple[float, Applied]:
        """One optimizer step: its loss, and the loss scaling; an epoch's first one fills ``ratios``."""
        learner, hyper = self._learner, self._hyper
        if learner.manifest.options.immediate:
            return learner.step_immediately(
                self._samples, self._targets, int(batches[0]), hyper.lr, hyper.weight_decay
            )
        loss = learner.accumulate(self._samples, self._targets, batches)
        if not ratios:
            ratios.update(learner.accumulated_ratios(len(batches)))
        return loss, learner.apply(hyper.lr, len(batches), hyper.momentum, hyper.weight_decay)
