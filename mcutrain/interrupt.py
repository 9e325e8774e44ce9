"""Ctrl-C during training: it ends between two steps, where the state is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether someone asked to stop."""

    def __init__(self) -> None:
        #: once
        self.came = False
        #: again, and at once
        self.forced = False

    def check(self) -> None:
        """Between two steps: raise KeyboardInterrupt if someone asked to stop."""
        if self.came:
            raise KeyboardInterrupt

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.forced = self.came
        self.came = True
        if self.forced:
            raise KeyboardInterrupt


@contextmanager
def between_steps() -> Iterator[Stop]:
    """SIGINT and SIGTERM are noted instead of raised; a second one is raised."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in numbers}
    for number, handler in previous.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, stop.ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)
