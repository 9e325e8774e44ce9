"""How long a request will take: a few samples are timed on the device itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mcutrain.learning import Learner
from mcutrain.unlearning.base import Cost, Labelled
from mcutrain.unlearning.run import open_set

#: Device batches that are timed.
_BATCHES = 3


@dataclass(frozen=True)
class Speed:
    """Seconds of host time."""

    #: one sample forward, and one forward and backward
    inference: float
    gradient: float
    #: one optimizer step
    step: float

    def seconds(self, cost: Cost) -> float:
        """What ``cost`` takes."""
        streamed = cost.streamed
        forward = streamed.inference * self.inference + streamed.gradient * self.gradient
        return forward + cost.steps * self.step


def measure_speed(learner: Learner, pair: Labelled) -> Speed:
    """Time a few samples; the weights stay as they are, the gradient accumulators are cleared.

    An optimizer step is taken to be as long as the Program that reads the same tensors.
    """
    held = open_set(learner, "forget", pair)
    count = min(_BATCHES, held.batches)
    rows = count * learner.rows
    x, y = held.samples[:rows], held.targets[:rows]
    learner.evaluate(x, y)  # the first run of a Program is slower
    started = time.perf_counter()
    learner.evaluate(x, y)
    evaluated = time.perf_counter()
    learner.accumulate(held.samples, held.targets, range(count))
    accumulated = time.perf_counter()
    learner.executor.run("statistics")
    finished = time.perf_counter()
    learner.executor.run("zero_gradients")
    return Speed((evaluated - started) / rows, (accumulated - evaluated) / rows, finished - accumulated)
