"""What learning tells those who wait for it: steps, epochs, scores, and what a training run did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class StepEvent:
    """One optimizer step is done."""

    epoch: int
    step: int
    steps: int
    #: mean loss of the batch
    loss: float


@dataclass(frozen=True)
class EpochEvent:
    """One epoch is done.

    ``ratios`` is the gradient norm over the weight norm of each trained
    parameter at the epoch's first step, by parameter name (``conv1.weight``);
    empty in a build with immediate updates, which keeps no gradients.
    """

    epoch: int
    epochs: int
    loss: float
    ratios: dict[str, float]
    skipped: int
    loss_scale: float
    validation: Evaluation | None = None


Event: TypeAlias = "StepEvent | EpochEvent"


@dataclass(frozen=True)
class Applied:
    """State of the loss scaling after an optimizer step: the scale, and how many steps it skipped so far."""

    loss_scale: float
    skipped: int


@dataclass(frozen=True)
class Evaluation:
    """Mean loss (None in a build without one) and accuracy (None for regression) over ``samples``."""

    samples: int
    loss: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Training:
    """What a training run did: the mean loss of every epoch and every step."""

    epochs: tuple[EpochEvent, ...] = ()
    losses: tuple[float, ...] = field(default=(), repr=False)
    #: samples that ran forward and backward
    samples: int = 0
