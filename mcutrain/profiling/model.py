"""What a profile is: kernel calls with what they took, and their sums by layer and direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mcutrain.device.profile import CallCounts

#: Version of the JSON document's layout.
FORMAT = 1


@dataclass(frozen=True)
class Call:
    """A kernel call, and what it took in one run.  Times are in the profile's unit."""

    program: str
    number: int
    layer: str
    direction: str
    operator: str
    kernel: str
    macs: int
    counts: CallCounts

    @property
    def duration(self) -> int:
        return self.counts.end - self.counts.begin


@dataclass
class Row:
    """Kernel calls summed.  What workers count is the sum over them; None where nobody counts it."""

    program: str
    layer: str
    direction: str
    calls: int = 0
    #: from the controller's start of a call to its end, a mean over the runs, as are all others
    duration: float = 0.0
    macs: int = 0
    #: duration times workers
    worker_time: float = 0.0
    #: before a worker's first instruction and after its last
    idle: float | None = 0.0
    barrier: float | None = 0.0
    dma_wait: float | None = 0.0
    instructions: float | None = 0.0
    load_stalls: float | None = 0.0
    fetch_stalls: float | None = 0.0
    fpu_stalls: float | None = 0.0
    #: time with DMA transfers under way
    transfers: float | None = 0.0

    @property
    def other_stalls(self) -> float | None:
        """Cycles that no instruction and no counter accounts for: memory beyond L1, jumps, division."""
        known = (self.instructions, self.load_stalls, self.fetch_stalls, self.fpu_stalls)
        waits = (self.idle, self.barrier, self.dma_wait)
        if any(value is None for value in (*known, *waits)):
            return None
        return max(self.worker_time - sum(value or 0.0 for value in (*known, *waits)), 0.0)

    @property
    def macs_per_unit(self) -> float:
        """Multiply-accumulates a cycle (or unit of time)."""
        return self.macs / self.duration if self.duration else 0.0

    def share(self, name: str) -> float | None:
        """A worker's count as a part of the workers' time; None when it is not counted."""
        value = getattr(self, name)
        return None if value is None else value / self.worker_time if self.worker_time else 0.0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "other_stalls": self.other_stalls, "macs_per_unit": self.macs_per_unit}


#: Fields of a Row that add up.
_SUMS = tuple(f.name for f in fields(Row) if f.name not in ("program", "layer", "direction"))


@dataclass(frozen=True)
class ProgramProfile:
    """One Program, run warm."""

    name: str
    #: of the whole Program when its calls are not counted one by one, a mean over the runs
    duration: float
    #: the same while they are counted
    duration_counted: float
    #: the calls of every run
    runs: tuple[tuple[Call, ...], ...] = field(repr=False)

    @property
    def macs(self) -> int:
        return sum(call.macs for call in self.runs[0])

    @property
    def between(self) -> float:
        """Time between the calls: the controller's."""
        calls = sum(call.duration for run in self.runs for call in run) / len(self.runs)
        return self.duration_counted - calls


@dataclass(frozen=True)
class Profile:
    """Programs of one build on one device."""

    build: str
    build_id: str
    target: str
    precision: str
    workers: int
    #: ``cycles`` of the cores, or ``ns``
    unit: str
    #: what the unit measures, for people
    meaning: str
    programs: tuple[ProgramProfile, ...]

    @property
    def duration(self) -> float:
        """Of all Programs together, kernel calls not counted one by one."""
        return sum(program.duration for program in self.programs)

    @property
    def macs(self) -> int:
        return sum(program.macs for program in self.programs)

    def rows(self) -> list[Row]:
        """By Program, layer and direction in the order of their first calls.

        A Program without multiply-accumulates has a row for each direction,
        all layers together.
        """
        found: dict[tuple[str, str, str], Row] = {}
        for program in self.programs:
            for run in program.runs:
                for call in run:
                    layer = call.layer if program.macs else ""
                    key = (program.name, layer, call.direction)
                    row = found.setdefault(key, Row(*key))
                    _add(row, call, len(program.runs))
        for row in found.values():
            runs = next(len(p.runs) for p in self.programs if p.name == row.program)
            row.calls //= runs
            row.macs //= runs
        return list(found.values())

    def by_direction(self) -> list[Row]:
        """Rows of all layers together, the longest first."""
        return sorted(
            merge(self.rows(), lambda row: (row.program, "", row.direction)), key=lambda row: -row.duration
        )

    def as_json(self) -> dict[str, Any]:
        """The profile as a JSON document; ``calls`` are those of the last run."""
        return {
            "format": FORMAT,
            "build": self.build,
            "build_id": self.build_id,
            "target": self.target,
            "precision": self.precision,
            "workers": self.workers,
            "unit": self.unit,
            "meaning": self.meaning,
            "duration": self.duration,
            "macs": self.macs,
            "programs": [
                {
                    "name": program.name,
                    "duration": program.duration,
                    "duration_counted": program.duration_counted,
                    "between_calls": program.between,
                    "macs": program.macs,
                    "runs": len(program.runs),
                    "calls": [_call_json(call) for call in program.runs[-1]],
                }
                for program in self.programs
            ],
            "rows": [row.as_json() for row in self.rows()],
            "directions": [row.as_json() for row in self.by_direction()],
        }


def merge(rows: Iterable[Row], key: Callable[[Row], tuple[str, str, str]]) -> list[Row]:
    """Rows with the same (program, layer, direction) by ``key`` added, in the order of the first ones."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        into = found.setdefault(key(row), Row(*key(row)))
        for name in _SUMS:
            _sum(into, name, getattr(row, name))
    return list(found.values())


def _add(row: Row, call: Call, runs: int) -> None:
    """Add a call's share of ``runs`` runs; calls and MACs in whole, to be divided at the end."""
    workers = call.counts.workers
    row.calls += 1
    row.macs += call.macs
    row.duration += call.duration / runs
    row.worker_time += call.duration * len(workers) / runs
    inside = [w["end"] - w["begin"] for w in workers if "begin" in w]
    idle = call.duration * len(workers) - sum(inside) if len(inside) == len(workers) else None
    _sum(row, "idle", None if idle is None else idle / runs)
    transfers = call.counts.transfers
    _sum(row, "transfers", None if transfers is None else transfers / runs)
    for name in ("barrier", "dma_wait", "instructions", "load_stalls", "fetch_stalls", "fpu_stalls"):
        known = all(name in worker for worker in workers)
        _sum(row, name, sum(worker[name] for worker in workers) / runs if known else None)


def _sum(row: Row, name: str, value: float | None) -> None:
    """Add to a field, which is None as soon as one value is."""
    before = getattr(row, name)
    setattr(row, name, None if before is None or value is None else before + value)


def _call_json(call: Call) -> dict[str, Any]:
    return {
        "call": call.number,
        "layer": call.layer,
        "direction": call.direction,
        "operator": call.operator,
        "kernel": call.kernel,
        "macs": call.macs,
        "begin": call.counts.begin,
        "end": call.counts.end,
        "transfers": call.counts.transfers,
        "workers": list(call.counts.workers),
    }
