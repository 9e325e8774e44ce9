"""When a set counts as forgotten, and when the samples that must not suffer do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcutrain.errors import OptionError
from mcutrain.events import Evaluation
from mcutrain.unlearning.options import Option
from mcutrain.unlearning.run import Run

#: Accuracy on a forgotten class that counts as chance.
CLASS_TARGET = 0.05

TARGET = Option(
    "target",
    float,
    None,
    "goal: the forget set's accuracy is at most this (regression: its loss at least this); by default "
    f"{CLASS_TARGET} for a single class, otherwise what the validation set scores",
    0,
)
GUARD_POINTS = Option(
    "guard_points", float, 1.0, "percentage points of accuracy that the guard set may lose", 0, 100
)
GUARD_RISE = Option("guard_rise", float, 0.5, "rise of the guard set's mean loss that is allowed", 0, 1e6)


@dataclass(frozen=True)
class Goal:
    """The target on the forget set and the tolerance on the guard set."""

    classify: bool
    #: accuracy at most, or loss at least; None is never reached
    target: float | None
    #: share of accuracy that the guard may lose
    points: float = 0.01
    rise: float = float("inf")

    @classmethod
    def of(cls, run: Run) -> Goal:
        """The goal of a task, by its options; raises OptionError where nothing says what forgotten means."""
        points = run.number("guard_points") / 100 if "guard_points" in run.settings else 1.0
        rise = run.number("guard_rise") if "guard_rise" in run.settings else float("inf")
        target = run.settings["target"]
        if target is None:
            target = _default_target(run)
            run.chosen["target"] = target
        return cls(run.classify, None if target is None else float(target), points, rise)

    def reached(self, forget: Evaluation) -> bool:
        """Whether the forget set is forgotten."""
        if self.target is None:
            return False
        if self.classify:
            return forget.accuracy is not None and forget.accuracy <= self.target
        return forget.loss is not None and forget.loss >= self.target

    def slow(self, before: Evaluation, now: Evaluation, epochs: int) -> bool:
        """Whether ``epochs`` more like the one from ``before`` to ``now`` would not reach the target."""
        if self.target is None:
            return False
        old, new = (before.accuracy, now.accuracy) if self.classify else (before.loss, now.loss)
        if old is None or new is None:
            return False
        gained, missing = (old - new, new - self.target) if self.classify else (new - old, self.target - new)
        return gained * epochs < missing

    def hurt(self, before: Evaluation, now: Evaluation) -> bool:
        """Whether the guard set lost more than it may; losses that are not numbers are a harm."""
        # accuracies are quotients: the tolerance is far below one sample
        lost = (before.accuracy or 0.0) - (now.accuracy or 0.0)
        if self.classify and lost > self.points + 1e-9:
            return True
        if before.loss is None or now.loss is None:
            return False
        return not (np.isfinite(now.loss) and now.loss - before.loss <= self.rise)

    def out_of_reach(self, total: int) -> Callable[[Evaluation], bool]:
        """Whether the first samples of a forget set of ``total`` tell that it isn't forgotten."""

        def certain(so_far: Evaluation) -> bool:
            if self.target is None or so_far.accuracy is None:
                return False
            return _hits(so_far) / total > self.target

        return certain

    def surely_hurt(self, before: Evaluation, total: int) -> Callable[[Evaluation], bool]:
        """Whether the first samples of a guard set of ``total`` tell that it lost too much."""

        def certain(so_far: Evaluation) -> bool:
            if so_far.accuracy is not None:
                at_best = (_hits(so_far) + total - so_far.samples) / total
                if self.hurt(before, Evaluation(total, None, at_best)):
                    return True
            if before.loss is None or so_far.loss is None:
                return False
            # a loss is never below zero
            lost = so_far.loss * so_far.samples / total
            return not (np.isfinite(lost) and lost - before.loss <= self.rise + 1e-9 * before.loss)

        return certain


def _hits(scored: Evaluation) -> int:
    return round((scored.accuracy or 0.0) * scored.samples)


def asks_validation(run: Run) -> int:
    """Samples that finding the default target streams: the validation set, or none."""
    if run.settings["target"] is not None or _one_class(run):
        return 0
    return len(run.sets.get("validation", ()))


def _one_class(run: Run) -> bool:
    return run.classify and len(np.unique(run["forget"].labels())) == 1


def _default_target(run: Run) -> float | None:
    if _one_class(run):
        return CLASS_TARGET
    if "validation" not in run.sets:
        if not run.classify:
            return None
        raise OptionError(
            "the forget set has several classes, and nothing says which accuracy counts as forgotten",
            "give samples that were never trained (--validation), or -O target=0.1",
        )
    scored = run.evaluate("validation")
    return scored.accuracy if run.classify else scored.loss


def describe(run: Run, name: str) -> str:
    """The score of a set in a few characters, for progress."""
    return words(name, run.evaluate(name))


def words(name: str, scored: Evaluation) -> str:
    """The score of a set in a few characters, or of its first samples where it was broken off."""
    if scored.accuracy is not None:
        return f"{name} {100 * scored.accuracy:.1f} %"
    return f"{name} loss {scored.loss:.4g}"
