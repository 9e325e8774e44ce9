"""What things take: a device's own count of its work, and seconds of this computer beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcutrain.events import EpochEvent, Event, StepEvent

#: Bytes of a page of flash (targets/runtime/flash.h).
_PAGE = 256
#: The Program that takes a sample's gradient.
TRAINING = "train_step"
#: Programs that a training run only runs to score itself.
_SCORING = ("evaluate", "infer")


@dataclass(frozen=True)
class Tally:
    """How many times something was done, and how long that took in all, in ticks."""

    count: int = 0
    time: int = 0

    def since(self, earlier: Tally) -> Tally:
        return Tally(self.count - earlier.count, self.time - earlier.time)

    @property
    def mean(self) -> float:
        """Ticks for one; 0 when it was never done."""
        return self.time / self.count if self.count else 0.0


@dataclass(frozen=True)
class Work:
    """What the requests to a device have taken since its start, without the time of its link.

    ``targets/runtime/work.h`` is what counts it.  The clock is the board's: the
    controller's cycles where ``rate`` is 0, else ``rate`` ticks a second (of
    the native target: of processor time).
    """

    rate: int
    memory: Tally = field(default_factory=Tally)
    store: Tally = field(default_factory=Tally)
    #: parts of ``store``: blocks of flash found blank, blocks that had to be erased, pages programmed
    blank: Tally = field(default_factory=Tally)
    erased: Tally = field(default_factory=Tally)
    written: Tally = field(default_factory=Tally)
    programs: Mapping[str, Tally] = field(default_factory=dict)
    #: seconds of this computer that runs of each Program took, with their link
    waited: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Ticks of everything."""
        return self.memory.time + self.store.time + sum(t.time for t in self.programs.values())

    @property
    def flash_bytes(self) -> int:
        """Bytes programmed into flash."""
        return _PAGE * self.written.count

    def since(self, earlier: Work) -> Work:
        """What came after ``earlier``, of the same device."""
        names = ("memory", "store", "blank", "erased", "written")
        parts = {name: getattr(self, name).since(getattr(earlier, name)) for name in names}
        programs = {n: t.since(earlier.programs.get(n, Tally())) for n, t in self.programs.items()}
        waited = {n: s - earlier.waited.get(n, 0.0) for n, s in self.waited.items()}
        return Work(self.rate, **parts, programs=programs, waited=waited)


def work_of(executor: object) -> Work | None:
    """What an executor has done so far; None where nothing counts it."""
    read = getattr(executor, "work", None)
    return read() if read is not None else None


@dataclass(frozen=True)
class Span:
    """What something takes: seconds of this computer's time, and ticks of the device's own clock."""

    seconds: float = 0.0
    ticks: float = 0.0

    def __add__(self, other: Span) -> Span:
        return Span(self.seconds + other.seconds, self.ticks + other.ticks)

    def __mul__(self, factor: float) -> Span:
        return Span(self.seconds * factor, self.ticks * factor)


class Stopwatch:
    """Takes the time of what is done with an executor from its making on.

    Told of a training run's events, it leaves out what scoring takes.
    """

    def __init__(self, executor: object) -> None:
        self._executor = executor
        self.work = work_of(executor)
        self._apart = 0.0
        self._began = self._last = time.perf_counter()

    def note(self, event: Event) -> None:
        """An event of training, before anybody else hears of it."""
        if isinstance(event, EpochEvent) and event.validation is not None:
            self._apart += time.perf_counter() - self._last

    def resume(self, event: Event) -> None:
        """The same event, when all have heard of it."""
        if isinstance(event, StepEvent):
            self._last = time.perf_counter()

    def done(self) -> Work | None:
        """What the device has done meanwhile."""
        now = work_of(self._executor)
        return now.since(self.work) if now is not None and self.work is not None else None

    def span(self) -> Span:
        """The time until now."""
        seconds = time.perf_counter() - self._began - self._apart
        done = self.done()
        return Span(seconds, done.total if done else 0.0)

    def pace(self, samples: int, steps: int) -> dict[str, Any]:
        """What a sample and a step took, as a :class:`mcutrain.runrecords.RunRecord` has it."""
        if not samples or not steps:
            return {}
        seconds = time.perf_counter() - self._began - self._apart
        found: dict[str, Any] = {"pace": seconds / samples}
        done = self.done()
        if done is not None:
            trained = done.programs.get(TRAINING, Tally()).time
            scored = sum(done.programs.get(name, Tally()).time for name in _SCORING)
            waited = done.waited.get(TRAINING, 0.0)
            found["sample_ticks"] = trained / samples
            found["step_ticks"] = (done.total - trained - scored) / steps
            found["sample_seconds"] = waited / samples
            found["step_seconds"] = (seconds - waited) / steps
        return found
