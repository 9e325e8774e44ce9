"""How a model was trained, so that others can be trained alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mcutrain.errors import OptionError
from mcutrain.events import Event
from mcutrain.executor import Array
from mcutrain.learning import Learner

#: Between the seeds of two phases, so that phases of neighbouring seeds don't meet.
_PHASE_SEEDS = 7919


@dataclass(frozen=True)
class Phase:
    """``epochs`` passes at learning rate ``lr``."""

    epochs: int
    lr: float


@dataclass(frozen=True)
class Schedule:
    """Phases one after another, with the hyper-parameters of ``Learner.train``."""

    phases: tuple[Phase, ...]
    batch: int = 1
    momentum: float = 0.0
    weight_decay: float = 0.0

    @classmethod
    def parse(
        cls, text: str, *, batch: int = 1, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> Schedule:
        """``40:0.002,20:0.0004`` (epochs:rate) as a schedule; raises OptionError."""
        phases = []
        for part in text.split(","):
            epochs, colon, lr = part.strip().partition(":")
            try:
                phases.append(Phase(int(epochs), float(lr)))
            except ValueError:
                colon = ""
            if not colon or phases[-1].epochs < 1:
                raise OptionError(
                    f"schedule '{text}' has a part '{part}'", "give EPOCHS:RATE,… such as 40:0.002,20:0.0004"
                )
        return cls(tuple(phases), batch, momentum, weight_decay)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schedule:
        phases = tuple(Phase(**phase) for phase in value["phases"])
        return cls(phases, **{k: v for k, v in value.items() if k != "phases"})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def streamed(self, samples: int) -> int:
        """Samples that run forward and backward when ``samples`` are trained."""
        return self.epochs * samples

    def train(
        self,
        learner: Learner,
        x: Array,
        y: Array,
        *,
        seed: int = 0,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Run the phases; phase 0 draws its order from ``seed``, as ``mcutrain train --seed`` does.

        Raises what ``Learner.train`` raises.
        """
        for options in self.runs(seed):
            learner.train(x, y, **options, on_event=on_event)

    def runs(self, seed: int) -> Iterator[dict[str, Any]]:
        """Options of ``Learner.train`` for each phase."""
        for number, phase in enumerate(self.phases):
            yield {
                "epochs": phase.epochs,
                "lr": phase.lr,
                "momentum": self.momentum,
                "weight_decay": self.weight_decay,
                "batch": self.batch,
                "seed": seed + _PHASE_SEEDS * number,
            }


def constant(
    epochs: int, lr: float, *, batch: int = 1, momentum: float = 0.0, weight_decay: float = 0.0
) -> Schedule:
    """One phase."""
    return Schedule((Phase(epochs, lr),), batch, momentum, weight_decay)


def seeds(first: int, count: int) -> Sequence[int]:
    """Seeds of ``count`` retrained models, all other than the original's ``first``."""
    return [first + 1 + number for number in range(count)]
