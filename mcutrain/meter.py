"""A store that knows what its operations take."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mcutrain.files import parse_json
from mcutrain.store import Store, StoreEntry, StoreFacts
from mcutrain.work import Span, Stopwatch, Work, work_of

#: How much the newest of several measurements counts.
_WEIGHT = 0.5


class Meter:
    """Measures by name, and remembers: a moving average of what each kind of operation takes."""

    def __init__(self, executor: object) -> None:
        self._executor = executor
        self._spans: dict[str, Span] = {}
        #: ticks for a block of flash that is blank, and one that is not, and how many of these were seen
        self._blocks: dict[str, float] = {}
        work = work_of(executor)
        #: of the device's clock, see :class:`Work`; None where nothing counts
        self.rate: int | None = work.rate if work else None

    @contextmanager
    def timed(self, name: str, count: int = 1) -> Iterator[None]:
        """Measure what is done within, unless it fails; it is ``count`` times what shall be remembered."""
        began = time.perf_counter()  # asking the device for its count takes time, too
        watch = Stopwatch(self._executor)
        yield
        ticks = watch.span().ticks
        span = Span(time.perf_counter() - began, ticks) * (1 / max(count, 1))
        old = self._spans.get(name)
        self._spans[name] = span if old is None else old * (1 - _WEIGHT) + span * _WEIGHT

    def span(self, *names: str) -> Span:
        """What the first of these that was ever measured takes."""
        return next((self._spans[name] for name in names if name in self._spans), Span())

    def knows(self, name: str) -> bool:
        """Whether this was ever measured."""
        return name in self._spans

    def block(self, kind: str) -> float:
        """Ticks to make sure that a ``blank`` block is blank, or that an ``erased`` one is."""
        work = work_of(self._executor)
        found = self._measured(work).get(kind) if work else None
        return self._blocks.get(kind, 0.0) if found is None else found

    def encode(self) -> bytes:
        """What is known, to be kept for the next start."""
        work = work_of(self._executor)
        blocks = {**self._blocks, **(self._measured(work) if work else {})}
        spans = {name: [round(s.seconds, 7), round(s.ticks, 1)] for name, s in sorted(self._spans.items())}
        return json.dumps({"rate": self.rate, "spans": spans, "blocks": blocks}, sort_keys=True).encode()

    def decode(self, data: bytes) -> None:
        """Take what an earlier start knew; of another clock, or malformed, it is of no use and is left."""
        try:
            value: Any = parse_json(data)
            if value["rate"] != self.rate:
                return
            spans = {str(n): Span(float(s), float(t)) for n, (s, t) in value["spans"].items()}
            blocks = {str(n): float(t) for n, t in value["blocks"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._spans, self._blocks = spans, blocks

    @staticmethod
    def _measured(work: Work) -> dict[str, float]:
        return {n: t.mean for n, t in (("blank", work.blank), ("erased", work.erased)) if t.count}


class MeteredStore:
    """Implements :class:`mcutrain.store.Store` on another one, and measures what is done with it."""

    def __init__(self, store: Store, meter: Meter) -> None:
        self._store = store
        self._meter = meter

    def facts(self) -> StoreFacts:
        with self._meter.timed("facts"):
            return self._store.facts()

    def entries(self) -> dict[str, StoreEntry]:
        with self._meter.timed("entries"):
            return self._store.entries()

    def read(self, name: str) -> bytes:
        return self._store.read(name)

    def begin(self) -> None:
        with self._meter.timed("begin"):
            self._store.begin()

    def put(self, name: str, data: bytes) -> None:
        with self._meter.timed("put"):
            self._store.put(name, data)

    def keep(self, name: str, tensors: Sequence[str]) -> None:
        with self._meter.timed("keep"):
            self._store.keep(name, tensors)

    def digest(self, name: str, tensors: Sequence[str]) -> bytes:
        with self._meter.timed("digest"):
            return self._store.digest(name, tensors)

    def link(self, name: str, other: str) -> None:
        self._store.link(name, other)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def commit(self, purge: bool = False) -> int:
        with self._meter.timed("purge" if purge else "commit"):
            return self._store.commit(purge)

    def restore(self, name: str) -> None:
        with self._meter.timed("restore"):
            self._store.restore(name)

    def hash(self, tensors: Sequence[str]) -> bytes:
        with self._meter.timed("hash"):
            return self._store.hash(tensors)

    def set_key(self, key: bytes) -> bytes:
        return self._store.set_key(key)

    def certify(self, before: str, text: str, tensors: Sequence[str]) -> bytes:
        with self._meter.timed("certify"):
            return self._store.certify(before, text, tensors)
