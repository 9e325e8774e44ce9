"""How long a request will take: a few samples are timed on the device itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from mcutrain.learning import Learner
from mcutrain.unlearning.base import Cost, Labelled
from mcutrain.unlearning.run import open_set
from mcutrain.work import Span, Stopwatch

#: Device batches that are timed, again and again for these seconds.
_BATCHES, _SECONDS = 3, 0.15
_NOTHING = Span()


@dataclass(frozen=True)
class Speed:
    """What the parts of a request take on this computer, and on the device by its clock."""

    #: one sample forward, and one forward and backward
    inference: Span
    gradient: Span = _NOTHING
    #: one optimizer step
    step: Span = _NOTHING

    def span(self, cost: Cost) -> Span:
        """What ``cost`` takes."""
        streamed = cost.streamed
        forward = self.inference * streamed.inference + self.gradient * streamed.gradient
        return forward + self.step * cost.steps


def measure_speed(learner: Learner, pair: Labelled, *, inference_only: bool = False) -> Speed:
    """Time a few samples; the weights stay as they are, the gradient accumulators are cleared.

    An optimizer step is taken to be as long as the Program that reads the same tensors.
    """
    held = open_set(learner, "forget", pair)
    count = min(_BATCHES, held.batches)
    rows = count * learner.rows
    x, y = held.samples[:rows], held.targets[:rows]
    learner.evaluate(x, y)  # the first run of a Program is slower
    inference = _timed(learner, lambda: learner.evaluate(x, y)) * (1 / rows)
    if inference_only:
        return Speed(inference)
    gradient = _timed(learner, lambda: learner.accumulate(held.samples, held.targets, range(count)))
    step = _timed(learner, lambda: learner.executor.run("statistics"))
    learner.executor.run("zero_gradients")
    return Speed(inference, gradient * (1 / rows), step)


def _timed(learner: Learner, work: Callable[[], object]) -> Span:
    """What ``work`` takes: the middle one of as many times as there is time for, of one at least."""
    taken: list[Span] = []
    began = time.perf_counter()
    while not taken or time.perf_counter() - began < _SECONDS:
        watch = Stopwatch(learner.executor)
        work()
        taken.append(watch.span())
    return Span(median(span.seconds for span in taken), median(span.ticks for span in taken))
