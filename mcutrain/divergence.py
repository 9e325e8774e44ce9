"""Noticing that training diverges, and what to say about it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import isfinite

import numpy as np

from mcutrain.words import counted

#: Steps over which the loss is averaged when watching for divergence.
_WINDOW = 32
#: Skipped steps in a row, at the smallest loss scale, that mean divergence.
_SKIPS = 8


class Watch:
    """Notices divergence from the losses and the loss scale.

    A rate far too high explodes within the first window, so that window is
    judged too: against the very first loss, or what guessing costs if that is
    more (``guess``, ln of the classes), or 5 first losses for a regression,
    whose samples differ widely.
    """

    def __init__(self, guess: float | None) -> None:
        self._guess = guess
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        #: what losses are compared with, and whether a whole window has had its say in it
        self._first: float | None = None
        self._judged = False
        self._skipped = 0
        self._skips = 0

    def diverged(self, loss: float, scale: float, skipped: int) -> str:
        """Why training must stop, or nothing."""
        self._skips = self._skips + 1 if skipped > self._skipped else 0
        self._skipped = skipped
        if not isfinite(loss):
            return f"the loss is {loss}"
        if self._skips >= _SKIPS and scale <= 1.0:
            return f"{counted(self._skips, 'step')} in a row overflowed at the smallest loss scale"
        if self._first is None:
            self._first = max(loss, self._guess) if self._guess is not None else 5.0 * loss
        self._recent.append(loss)
        if len(self._recent) < _WINDOW:
            return ""
        mean = sum(self._recent) / _WINDOW
        self._first = min(self._first, mean) if not self._judged else self._first
        self._judged = True
        limit = 2.0 * self._first + 1.0
        return f"the mean loss rose from {self._first:.3g} to {mean:.3g}" if mean > limit else ""


def advice(lr: float, ratios: Mapping[str, float]) -> str:
    """What to change, from the layers whose step is large against their weights."""
    weights = {name: r for name, r in ratios.items() if name.endswith(".weight") and isfinite(r)}
    slower = f"lower the rate (--lr {lr / 10:g})"
    if not weights:
        return f"{slower} or scale the inputs to about ±1"
    worst = max(weights, key=lambda name: weights[name])
    median = float(np.median(list(weights.values())))
    if weights[worst] > 30 * max(median, 1e-12):
        layer = worst.rpartition(".")[0]
        first = next(iter(weights)) == worst
        return (
            f"{layer}'s gradient is {weights[worst]:.3g} times its weights (median layer {median:.3g}): "
            f"train only later layers (--train), {slower}" + (", or scale the inputs" if first else "")
        )
    return f"{slower}, a larger --batch, or scale the inputs to about ±1"
