"""What kernel calls take, as the device counts it: ``targets/runtime/profile.h`` is the other side."""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from mcutrain.device.framing import Command
from mcutrain.device.session import Session
from mcutrain.errors import DeviceError, LinkError
from mcutrain.executor import Array

_LAYOUT = 1
#: Words of a record before the workers' counts.
_HEAD = 5
_FACTS = struct.Struct("<6I")
_U32 = struct.Struct("<I")
_ALL = 0xFFFFFFFF
#: Names of the counts, by their number in the protocol.
COUNTS = (
    "begin",
    "end",
    "barrier",
    "dma_wait",
    "instructions",
    "load_stalls",
    "fetch_stalls",
    "fpu_stalls",
)


class Mode(enum.IntEnum):
    """What is counted."""

    OFF = 0
    CALLS = 1
    RUNS = 2


@dataclass(frozen=True)
class Clock:
    """What times are in: the cores' cycles when ``rate`` is 0, else ticks, ``rate`` a second."""

    rate: int

    @property
    def counts_cycles(self) -> bool:
        return self.rate == 0


@dataclass(frozen=True)
class CallCounts:
    """One kernel call.  Times count from the beginning of the run, in the clock's unit.

    ``begin`` and ``end`` are the controller's, so the workers' lie between
    them.  ``transfers`` is the time in which DMA transfers were under way, or
    None where the board cannot tell.  ``workers`` holds for each worker what
    its board counts, by the names in :data:`COUNTS`.
    """

    call: int
    begin: int
    end: int
    transfers: int | None
    workers: tuple[dict[str, int], ...]


@dataclass(frozen=True)
class RunCounts:
    """One run of a Program: ``duration`` from its first kernel call to its last.

    It includes the controller's work between the calls, but not the messages
    by which the device tells that it is alive.
    """

    program: str
    duration: int
    clock: Clock
    calls: tuple[CallCounts, ...] = field(repr=False)


@dataclass(frozen=True)
class _Log:
    """The device's log, and what is in its records."""

    mode: Mode
    clock: Clock
    #: records it has room for
    capacity: int
    #: 32-bit words of a record
    words: int
    counts: tuple[str, ...]


def run_counted(
    session: Session, program: str, inputs: Mapping[str, Array] | None = None, *, each_call: bool = True
) -> RunCounts:
    """Run a Program as ``session.run`` does, and count what it takes.

    With ``each_call``, which takes some time itself, also what every kernel
    call takes.  A Program with more calls than the device's log holds then
    runs in parts; the time between them is not counted.

    Raises:
        DeviceError: the device has no counters.
    """
    total = len(session.manifest.program(program).calls)
    duration, elapsed, at = 0, 0, 0
    calls: list[CallCounts] = []
    log = _start(session, Mode.CALLS if each_call else Mode.RUNS)
    try:
        while True:
            last = min(at + log.capacity - 1, total) if each_call else total
            session.run(program, inputs if at == 0 else None, (), (at, last))
            whole, messages, records = _read_run(session, log, program, (at, last), elapsed)
            elapsed += whole
            duration += whole - messages
            calls += records
            at = last
            if at == total:
                return RunCounts(program, duration, log.clock, tuple(calls))
            log = _start(session, log.mode)
    finally:
        session.exchange(Command.PROFILE, _U32.pack(Mode.OFF))


def count_call(session: Session, program: str, call: int) -> tuple[Clock, CallCounts]:
    """Run one kernel call of a Program on what is in memory, and count what it takes; raises DeviceError."""
    log = _start(session, Mode.CALLS)
    try:
        session.run(program, calls=(call, call + 1))
        _, _, (counts,) = _read_run(session, log, program, (call, call + 1), 0)
        return log.clock, counts
    finally:
        session.exchange(Command.PROFILE, _U32.pack(Mode.OFF))


def _start(session: Session, mode: Mode) -> _Log:
    """Clear the device's log and have it count."""
    try:
        body = session.exchange(Command.PROFILE, _U32.pack(mode))
    except DeviceError as error:
        raise DeviceError(
            f"the device does not count what kernel calls take: {error.reason}",
            "compile the model again with this version of mcutrain and flash it",
        ) from None
    _require(len(body) >= _FACTS.size)
    layout, rate, capacity, words, workers, count = _FACTS.unpack_from(body)
    _require(layout == _LAYOUT and len(body) == _FACTS.size + 4 * count)
    numbers = struct.unpack_from(f"<{count}I", body, _FACTS.size)
    _require(words == _HEAD + workers * count and all(number < len(COUNTS) for number in numbers))
    if capacity < 2 or 8 + 4 * words > session.facts.maximum_body:
        raise DeviceError(
            "the device has no room to keep what kernel calls take", "use a target with counters, as gvsoc"
        )
    return _Log(mode, Clock(rate), capacity, words, tuple(COUNTS[number] for number in numbers))


def _read_run(
    session: Session, log: _Log, program: str, calls: tuple[int, int], offset: int
) -> tuple[int, int, list[CallCounts]]:
    """The run of ``calls`` that the log holds: its time, that of messages in it, and its records.

    Their times count from ``offset`` before the run.
    """
    index = session.manifest.program_index(program)
    records: list[tuple[int, ...]] = []
    numbers = range(*calls) if log.mode is Mode.CALLS else range(0)
    total = len(numbers) + 1
    room = (session.facts.maximum_body - 8) // (4 * log.words)
    while len(records) < total:
        count = min(room, total - len(records))
        body = session.exchange(Command.READ_PROFILE, struct.pack("<II", len(records), count))
        _require(len(body) == 8 + 4 * log.words * count)
        _require(struct.unpack_from("<II", body) == (total, 0))
        records += struct.iter_unpack(f"<{log.words}I", body[8:])
    *inner, whole = records
    _require(whole[:2] == (index, _ALL))
    _require([record[:2] for record in inner] == [(index, call) for call in numbers])
    zero = whole[2]

    def since(time: int) -> int:
        """Time since the run began; the clock wraps."""
        return offset + ((time - zero) & _ALL)

    found = []
    for record in inner:
        workers = []
        for start in range(_HEAD, log.words, max(len(log.counts), 1)):
            counts = dict(zip(log.counts, record[start : start + len(log.counts)], strict=True))
            workers.append(
                {key: since(value) if key in ("begin", "end") else value for key, value in counts.items()}
            )
        transfers = None if record[4] == _ALL else record[4]
        found.append(CallCounts(record[1], since(record[2]), since(record[3]), transfers, tuple(workers)))
    return since(whole[3]) - offset, whole[4], found


def _require(well_formed: bool) -> None:
    if not well_formed:
        raise LinkError(
            "the device's counts are not as this mcutrain knows them",
            "compile the model again with this version and flash it",
        )
