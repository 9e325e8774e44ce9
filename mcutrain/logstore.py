"""The run log as it lies in a device's store, and its copy on this computer.

The device is the authority; the copy is for people and for offline work, and
whenever both are at hand they are compared.  Entries of the store::

    salt            random bytes that go into every sample's hash
    run/N           a RunRecord: options, seed and sample hashes of training run N
    state           the exact state of now (it is also what a device starts with)
    snapshot/N      the exact state before run N
    forgotten       Forgotten samples
    requests        RequestRecords: a journal of what was asked and what came of it
    before          SHA-256 of the weights before a request, computed by the device
    certificate     the text of the last certificate
    budget          bytes that snapshots may take
    timing          what operations took, see :class:`mcutrain.meter.Meter`
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcutrain.data import Samples
from mcutrain.errors import DataError, StoreError
from mcutrain.executor import Array
from mcutrain.files import parse_json, write_whole
from mcutrain.hoststore import HostStore
from mcutrain.learning import Learner
from mcutrain.meter import Meter, MeteredStore
from mcutrain.runrecords import (
    Forgotten,
    RequestRecord,
    RunRecord,
    decode_all,
    plain_record,
    sample_hashes,
)
from mcutrain.store import Store
from mcutrain.words import counted

RUN, SNAPSHOT = "run/", "snapshot/"
#: Samples that are enough to say what hashing one takes.
_MANY = 16


class Pool:
    """Samples at hand, found by their salted hashes."""

    def __init__(self, learner: Learner, salt: bytes, x: Array | Samples, y: Array | Samples) -> None:
        self._samples, self._targets = learner.training_set(x, y)
        self._hashes = sample_hashes(learner, salt, self._samples, self._targets)
        self._rows = {sample: row for row, sample in reversed(list(enumerate(self._hashes)))}

    def having(self, hashes: Collection[bytes]) -> tuple[Array, Array]:
        """All samples at hand with one of these hashes, in the order of the data."""
        rows = np.flatnonzero([sample in hashes for sample in self._hashes])
        return self._samples[rows], self._targets[rows]

    def take(self, run: RunRecord, exclude: Collection[int]) -> tuple[Array, Array]:
        """Samples and targets of a run, in its order; those in ``exclude`` are stand-ins.

        Raises:
            DataError: one that is not excluded is not at hand.
        """
        left_out = set(exclude)
        missing = [s for i, s in enumerate(run.hashes) if i not in left_out and s not in self._rows]
        if missing:
            raise DataError(
                f"the data lacks {counted(len(missing), 'sample')} of {len(run.hashes)} in run '{run.name}'",
                "give all the data that was trained, exactly as it was",
            )
        rows = np.array([self._rows.get(sample, 0) for sample in run.hashes], np.int64)
        return self._samples[rows], self._targets[rows]


@dataclass(frozen=True)
class LogCopy:
    """A log as the copy in a build directory has it."""

    salt: bytes
    runs: tuple[RunRecord, ...]
    forgotten: tuple[Forgotten, ...] = ()
    requests: tuple[RequestRecord, ...] = ()

    @classmethod
    def read(cls, path: Path) -> LogCopy:
        """Raises StoreError."""
        try:
            value = parse_json(path.read_bytes())
            runs = tuple(RunRecord.from_json(run) for run in value["runs"])
            forgotten = tuple(plain_record(Forgotten, entry) for entry in value["forgotten"])
            requests = tuple(plain_record(RequestRecord, entry) for entry in value["requests"])
            return cls(bytes.fromhex(value["salt"]), runs, forgotten, requests)
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it is damaged ({error})"
        raise StoreError(
            f"cannot read the run log {path}: {reason}", "connect the device once: it writes the log anew"
        )

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        runs = [{**asdict(run), "hashes": [sample.hex() for sample in run.hashes]} for run in self.runs]
        return {
            "salt": self.salt.hex(),
            "runs": runs,
            "forgotten": [asdict(entry) for entry in self.forgotten],
            "requests": [asdict(request) for request in self.requests],
        }


class LogStore:
    """Reads, writes and queries a log; :class:`mcutrain.runlog.RunLog` adds what is done with it."""

    def __init__(self, learner: Learner, store: Store, copy: Path) -> None:
        self.learner = learner
        #: what operations on the device take
        self.meter = Meter(learner.executor)
        self.store: Store = MeteredStore(store, self.meter)
        #: whether the store is a file of this computer, and no device's
        self.on_host = isinstance(store, HostStore)
        self.manifest = learner.manifest
        self._copy = copy
        self._indexed: list[int] = []
        self._seen: dict[bytes, list[int]] = {}
        self._read()
        self._compare()

    # ---- samples

    def sample_hashes(self, x: Array | Samples, y: Array | Samples) -> list[bytes]:
        """Salted hash of each sample with its label; raises DataError."""
        with self._timed(x):
            return sample_hashes(self.learner, self.salt, x, y)

    def runs_with(self, sample: bytes) -> list[RunRecord]:
        """The runs whose training saw a sample, forgotten since or not."""
        return [self.runs[number - 1] for number in self._where().get(sample, ())]

    def contains(self, sample: bytes) -> bool:
        """Whether a sample was ever trained."""
        return sample in self._where()

    def _where(self) -> dict[bytes, list[int]]:
        """Numbers of the runs that saw each sample."""
        trained = [run.number for run in self.runs if run.trained]
        if trained != self._indexed:
            self._seen = {}
            for number in trained:
                for sample in dict.fromkeys(self.runs[number - 1].hashes):
                    self._seen.setdefault(sample, []).append(number)
            self._indexed = trained
        return self._seen

    def left_out(self, sample: bytes, run: int) -> bool:
        """Whether a sample has been forgotten out of a run."""
        return self._through.get(sample, 0) >= run

    def forgotten(self, sample: bytes) -> bool:
        """Whether a sample was forgotten, and not learned again since."""
        through = self._through.get(sample, 0)
        return through > 0 and all(run.number <= through for run in self.runs_with(sample))

    def held(self, samples: Iterable[bytes]) -> list[bytes]:
        """Those of ``samples`` that the model still holds, each once, in their order.

        Raises:
            DataError: one was never trained.
        """
        unique = list(dict.fromkeys(samples))
        unseen = [sample for sample in unique if not self.contains(sample)]
        if unseen:
            raise DataError(
                f"no logged run has trained {counted(len(unseen), 'sample')} of the {len(unique)} named"
                f" (the first has hash {unseen[0].hex()[:16]}…)",
                "name samples of the training data exactly as they were trained, label included",
            )
        return [sample for sample in unique if not self.forgotten(sample)]

    def excluded(self, run: RunRecord) -> list[int]:
        """Numbers of a run's samples that have been forgotten."""
        return [i for i, sample in enumerate(run.hashes) if self.left_out(sample, run.number)]

    def pool(self, x: Array | Samples, y: Array | Samples) -> Pool:
        """Samples at hand, to be found by their hashes; raises DataError."""
        with self._timed(x):
            return Pool(self.learner, self.salt, x, y)

    def _timed(self, x: Array | Samples) -> AbstractContextManager[None]:
        """Measures what a sample takes within; with only a few, most is what is done once for all of them."""
        count = x.shape[0] if getattr(x, "ndim", 0) else 0  # nothing is checked yet
        return self.meter.timed("sample", count) if count >= _MANY else nullcontext()

    # ---- store and copy

    def _read(self) -> None:
        store = self.store
        facts = store.facts()
        if facts.foreign:
            raise StoreError(
                "the store holds the log of another build", "use that build, or remove its state folder"
            )
        entries = store.entries()
        self.sequence = facts.sequence
        self.salt = store.read("salt") if "salt" in entries else secrets.token_bytes(16)
        try:
            numbers = sorted(int(name[len(RUN) :]) for name in entries if name.startswith(RUN))
            self.runs = [RunRecord.decode(store.read(f"{RUN}{number}")) for number in numbers]
            forgotten = store.read("forgotten") if "forgotten" in entries else b""
            self.forgets = decode_all(Forgotten, forgotten)
            if "timing" in entries:
                self.meter.decode(store.read("timing"))
            requests = store.read("requests") if "requests" in entries else b""
            self.requests = decode_all(RequestRecord, requests)
        except ValueError as error:
            raise StoreError(
                f"the run log cannot be read: {error}", "it was written by another version"
            ) from None
        lost = [run.name for i, run in enumerate(self.runs, 1) if run.number != i]
        if lost or ("state" not in entries and any(run.trained for run in self.runs)):
            raise StoreError(
                "the flash of the device is damaged: its store has lost "
                + ("runs of the log" if lost else "the state of the model"),
                "replace the device, or remove its state folder to start anew",
            )
        self._index()

    def _index(self) -> None:
        self._through: dict[bytes, int] = {}
        for entry in self.forgets:
            sample = bytes.fromhex(entry.hash)
            self._through[sample] = max(entry.through, self._through.get(sample, 0))

    def _commit(self, purge: bool = False) -> None:
        self.sequence = self.store.commit(purge)
        with self.meter.timed("copy"):
            self._write_copy()

    def _contents(self) -> dict[str, Any]:
        copy = LogCopy(self.salt, tuple(self.runs), tuple(self.forgets), tuple(self.requests))
        return copy.as_json()

    def _write_copy(self) -> None:
        text = json.dumps({"sequence": self.sequence, **self._contents()}, indent=1)
        try:
            self._copy.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._copy, text + "\n", private=True)
        except OSError as error:
            raise StoreError(f"cannot write {self._copy}: {error.strerror}", "make room there") from None

    def _compare(self) -> None:
        """The copy must be the store's of the same moment, or an older one."""
        try:
            copy = parse_json(self._copy.read_bytes())
            sequence = int(copy.pop("sequence"))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise StoreError(
                f"{self._copy} is damaged: {error}", "remove it: the device has the log"
            ) from None
        if sequence > self.sequence:
            raise StoreError(
                f"the store is older than its copy {self._copy} ({self.sequence} against {sequence} commits)",
                "connect the right device; if this is the one, it was set back: remove the copy to go on",
            )
        if sequence == self.sequence and copy != self._contents():
            raise StoreError(
                f"the log of the device and its copy {self._copy} differ",
                "the copy was changed: remove it, the device has the log",
            )
