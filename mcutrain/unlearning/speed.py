"""How long a request will take: a few samples are timed on the device itself."""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.learning import Learner
from mcutrain.unlearning.base import Cost, Labelled
from mcutrain.unlearning.run import open_set
from mcutrain.work import Span, Stopwatch

#: Device batches that are timed.
_BATCHES = 3
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
    watch = Stopwatch(learner.executor)
    learner.evaluate(x, y)
    inference = watch.span() * (1 / rows)
    if inference_only:
        return Speed(inference)
    watch = Stopwatch(learner.executor)
    learner.accumulate(held.samples, held.targets, range(count))
    gradient = watch.span() * (1 / rows)
    watch = Stopwatch(learner.executor)
    learner.executor.run("statistics")
    step = watch.span()
    learner.executor.run("zero_gradients")
    return Speed(inference, gradient, step)
