"""Attempts of falling strength from one state, until one of them spares the guard set.

How strongly a network may be pulled at depends on the network: what one bears ruins another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcutrain.events import Evaluation
from mcutrain.unlearning.goal import GUARD_POINTS
from mcutrain.unlearning.options import Option
from mcutrain.unlearning.run import Run

#: Strength of an attempt over that of the one before.
_FALL = 1 / 3
#: Share of its accuracy below which a network counts as ruined, and factor of a regression's loss.
_RUINED, _RISE = 0.5, 2.0


def trial_options(strength: str, *variants: str) -> tuple[Option, ...]:
    """The options of a method that tries; ``strength`` names the option that falls."""
    return (
        Option(
            "tries",
            int,
            3,
            f"attempts at most: while the guard set suffers, another with a third of the {strength}",
            1,
            10,
            variants=variants,
        ),
        replace(GUARD_POINTS, default=10.0, variants=variants),
    )


def weaken(run: Run, name: str, attempt: Callable[[float], None]) -> str:
    """Change the present network with the value of option ``name`` as strength, and then with less.

    The first attempt that the guard set bears stays, otherwise the one that it bears best.  An attempt may
    give up where the network is :func:`ruined`.  Returns why everything was put back, or nothing.
    """
    start, base, strength = run.save(), run.evaluate("guard"), run.number(name)
    kept, best = None, None
    for number in range(run.count("tries")):
        if number:
            run.restore(start)
        attempt(strength)
        now = run.evaluate("guard")
        run.chosen.update({name: strength, "tried": number + 1})
        if not _hurt(run, base, now):
            return ""
        if not ruined(run, base) and (best is None or _worth(now) > _worth(best)):
            kept, best = (run.save(), strength), now
        strength *= _FALL
    if kept is None:
        run.restore(start)
        return f"put back: the guard set suffers at every {name} that was tried"
    run.restore(kept[0])
    run.chosen[name] = kept[1]
    return ""


def ruined(run: Run, base: Evaluation) -> bool:
    """Whether the network of now is of no use to the guard set, which scored ``base`` before."""
    now = run.evaluate("guard")
    if now.loss is not None and not np.isfinite(now.loss):
        return True
    return run.classify and (now.accuracy or 0.0) < _RUINED * (base.accuracy or 0.0)


def _hurt(run: Run, base: Evaluation, now: Evaluation) -> bool:
    if ruined(run, base):
        return True
    if run.classify:
        # accuracies are quotients: the tolerance is far below one sample
        return (base.accuracy or 0.0) - (now.accuracy or 0.0) > run.number("guard_points") / 100 + 1e-9
    return now.loss is not None and base.loss is not None and now.loss > _RISE * base.loss


def _worth(now: Evaluation) -> tuple[float, float]:
    return (now.accuracy or 0.0, -(now.loss or 0.0))
