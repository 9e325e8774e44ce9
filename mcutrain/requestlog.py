"""Requests to forget, in the log of a device: their journal, and what changes together when one ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mcutrain.compiler.programs.training import INITIAL_LOSS_SCALE
from mcutrain.errors import StoreError
from mcutrain.learning import Learner
from mcutrain.logstore import RUN, SNAPSHOT, LogStore
from mcutrain.runrecords import (
    Forgotten,
    RequestRecord,
    RunRecord,
    encode_all,
    state_names,
    weight_names,
)
from mcutrain.store import Store

#: What the optimizer keeps beside momentum.
_OPTIMIZER = ("loss_scale", "overflow", "good_steps", "skipped_steps")
#: Small entries that a request or a run writes anew.
_SMALL = 10


def reset_optimizer(learner: Learner) -> None:
    """Momentum, loss scale and its counters as they are at power-up: so begins every run."""
    mixed = learner.manifest.options.precision == "mixed"
    first = {"loss_scale": INITIAL_LOSS_SCALE if mixed else 1.0}
    fresh = {}
    for t in learner.manifest.tensors:
        if t.name.endswith(".momentum") or t.name in _OPTIMIZER:
            dtype = np.float32 if t.dtype == "f32" else np.int32
            fresh[t.name] = np.full(t.shape, first.get(t.name, 0), dtype)
    learner.executor.write(fresh)


class RequestLog(LogStore):
    """The part of :class:`mcutrain.runlog.RunLog` that forgets."""

    def __init__(self, learner: Learner, store: Store, copy: Path) -> None:
        #: the request under way
        self.pending: RequestRecord | None = None
        #: what the open transaction holds anew since :meth:`begin_request`: snapshots and run records
        self.remade: list[int] = []
        self.rerun: list[RunRecord] = []
        super().__init__(learner, store, copy)

    # ---- state

    @property
    def weights(self) -> list[str]:
        """Names of the tensors whose hash identifies a model."""
        return weight_names(self.manifest)

    def weights_hash(self) -> str:
        """SHA-256 of the trained parameters as they are now, computed where they are; hexadecimal."""
        return self.store.hash(self.weights).hex()

    def snapshots(self) -> list[int]:
        """Numbers of the runs before which a snapshot was kept, ascending."""
        names = self.store.entries()
        return sorted(int(name[len(SNAPSHOT) :]) for name in names if name.startswith(SNAPSHOT))

    def snapshot_size(self) -> int:
        """Bytes that one snapshot takes in the store."""
        names = state_names(self.manifest)
        size = 4 + sum(12 + self.manifest.tensor(name).nbytes for name in names)
        block = self.store.facts().block
        return -(-size // block) * block

    def spare(self) -> int:
        """Bytes of flash to leave free for what a request or a run writes before it gives up the old.

        A state that may have momentum, every run's record, and a few small entries.
        """
        block = self.store.facts().block
        records = sum(
            -(-entry.length // block) * block
            for name, entry in self.store.entries().items()
            if name.startswith(RUN)
        )
        return 2 * self.snapshot_size() + records + _SMALL * block

    def restore(self) -> None:
        """Make the device what its store says it is, the optimizer as at the start of a run."""
        if "state" in self.store.entries():
            self.reset_optimizer()
            self.store.restore("state")

    def reset_optimizer(self) -> None:
        """See :func:`reset_optimizer`."""
        with self.meter.timed("reset"):
            reset_optimizer(self.learner)

    # ---- requests

    def begin_request(self, method: str, samples: Iterable[bytes]) -> list[bytes]:
        """Note that a request to forget begins; the samples that are still held (empty: nothing to do).

        The device is put into the state of its store first, and hashes its weights.

        Raises:
            DataError: a sample was never trained; nothing is noted then.
        """
        todo = self.held(samples)
        if not todo:
            return []
        self.restore()
        self.remade, self.rerun = [], []
        self.store.begin()
        before = self.store.digest("before", self.weights).hex()
        self.pending = RequestRecord(len(self.requests) + 1, method, "begun", len(todo), before)
        self._put_request(self.pending)
        self._commit()
        return todo

    def first_run(self, samples: Iterable[bytes]) -> int:
        """Number of the first run that holds one of ``samples``."""
        wanted = set(samples)
        for run in self.runs:
            found = wanted.intersection(run.hashes) if run.trained else ()
            if any(not self.left_out(sample, run.number) for sample in found):
                return run.number
        raise StoreError("no run holds these samples")

    def spoiled(self, samples: Iterable[bytes]) -> list[int]:
        """Snapshots that hold something of ``samples``: those after the first run with one of them."""
        first = self.first_run(samples)
        return [number for number in self.snapshots() if number > first]

    def end_request(self, samples: Sequence[bytes], text: bytes) -> bytes:
        """Keep what the device is now as the state without ``samples``, and certify it.

        State, forgotten samples, snapshots and journal change in one transaction;
        what held the samples is then erased from the flash, and erased again at the
        next start if the power fails meanwhile.

        Args:
            samples: what :meth:`begin_request` returned.
            text: the certificate's text.

        Returns:
            The certificate that the device made, see :class:`mcutrain.store.Record`.
        """
        assert self.pending is not None
        if not self.rerun:
            self.store.begin()
        for number in set(self.spoiled(samples)) - set(self.remade):
            self.store.delete(f"{SNAPSHOT}{number}")
        for run in self.rerun:
            self.store.put(f"{RUN}{run.number}", run.encode())
            self.runs[run.number - 1] = run
        interrupted = self.runs[-1].status == "interrupted"
        self.store.keep("state", state_names(self.manifest, momentum=interrupted))
        last = self.runs[-1].number
        self.forgets += [Forgotten(s.hex(), last, self.pending.number) for s in samples]
        self._index()
        self.store.put("forgotten", encode_all(self.forgets))
        self.store.put("certificate", text)
        self._put_request(replace(self.pending, status="done", after=self.weights_hash()))
        self._commit(purge=True)
        self.pending = self.requests[-1]
        return self._certify()

    def revert_request(self) -> None:
        """The method gave up: the device goes back to the state before the request."""
        assert self.pending is not None
        self.restore()
        self.store.begin()
        self._put_request(replace(self.pending, status="reverted", after=self.pending.before))
        self._commit()
        self.pending = None

    def _certify(self) -> bytes:
        self.store.begin()
        record = self.store.certify("before", "certificate", self.weights)
        self._put_request(replace(self.requests[-1], status="certified"))
        self.store.put("timing", self.meter.encode())
        self._commit()
        self.pending = None
        return record

    def _put_request(self, request: RequestRecord) -> None:
        self.requests[request.number - 1 :] = [request]
        self.store.put("requests", encode_all(self.requests))
