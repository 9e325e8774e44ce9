"""What came of judging one model: its cost, figures, gates and verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcutrain.evaluation.gates import Gate, Verdict
from mcutrain.evaluation.measure import Measured


@dataclass(frozen=True)
class Cost:
    """What forgetting took, beside what retraining takes."""

    #: host seconds on the native target, and those until all gates passed (None when one never did)
    seconds: float | None = None
    seconds_to_pass: float | None = None
    #: samples streamed forward only, and forward and backward
    inference: int | None = None
    gradient: int | None = None
    steps: int | None = None
    #: bytes of device memory beside that of training
    memory: int | None = None
    #: bytes written to flash, where the device counts them and the method needs one
    flash_bytes: int | None = None
    #: runs of each Program, as the device counted them; times what a run takes on a board they are its cycles
    programs: Mapping[str, int] = field(default_factory=dict)
    #: samples that retraining streams forward and backward
    retraining: int = 0

    @property
    def cheaper(self) -> float | None:
        """How many times fewer samples than retraining; a backward pass counts as two forward ones."""
        if self.gradient is None or self.inference is None:
            return None
        weighted = 3 * self.gradient + self.inference
        return 3 * self.retraining / weighted if weighted else float("inf")


@dataclass(frozen=True)
class Judged:
    """One model with its figures, gates and verdict."""

    name: str
    claim: str
    verdict: Verdict
    gates: tuple[Gate, ...]
    figures: Mapping[str, float]
    cost: Cost
    measured: Measured = field(repr=False)
    #: what the method said: parameters, reason to stop, carriers
    outcomes: tuple[Mapping[str, Any], ...] = ()
