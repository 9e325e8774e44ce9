"""A session with a device: the Executor that runs Programs over a link."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mcutrain.device.framing import Command
from mcutrain.device.requests import Requester
from mcutrain.device.store import DeviceStore
from mcutrain.device.transport import Transport
from mcutrain.device.work import read_work
from mcutrain.errors import DataError, LinkError, McutrainError, OptionError
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import Manifest, TensorEntry
from mcutrain.words import counted
from mcutrain.work import Work

Array = npt.NDArray[Any]
#: Called with what is being done, how much is done and how much there is (bytes or kernel calls).
Progress = Callable[[str, int, int], None]

_RANGE = struct.Struct("<III")
_RUN = struct.Struct("<IIII")
_COUNT = struct.Struct("<I")
_HELLO = struct.Struct("<6I32s")
_REGIONS = {"data": 0, "arena": 1}


@dataclass(frozen=True)
class DeviceFacts:
    """What a device says about itself in the handshake."""

    protocol: int
    maximum_body: int
    workers: int
    programs: int
    data_size: int
    arena_size: int
    build_id: str


@dataclass(frozen=True)
class _Piece:
    """Part of a tensor that travels in one frame: ``length`` bytes from ``start``."""

    name: str
    entry: TensorEntry
    start: int
    length: int

    @property
    def range(self) -> bytes:
        return _RANGE.pack(_REGIONS[self.entry.region], self.entry.offset + self.start, self.length)


class Session:
    """Runs the Programs of one build on one device.

    Args:
        transport: the link; the session closes it.
        manifest: the build the device is expected to run.
        workers: cores to use, at most as many as compiled for; 0 for that many. Results don't depend on it.
        silence: seconds without a sign of life after which the link is given up.
        retry: seconds without a sign of life after which a request is repeated.
        progress: called during transfers and long Programs.
        end: whether closing says goodbye, which ends a simulator. A device that someone else started
            is left as it is, for the next command.

    Raises:
        LinkError: no answer, or the device runs another build.
        OptionError: ``workers`` is more than the build was compiled for.
        SimulatorError: the simulator died.
    """

    def __init__(
        self,
        transport: Transport,
        manifest: Manifest,
        *,
        workers: int = 0,
        silence: float = 10.0,
        retry: float = 1.0,
        progress: Progress | None = None,
        end: bool = True,
    ) -> None:
        self.manifest = manifest
        self._end = end
        self.progress = progress
        self._transport = transport
        self._requests = Requester(transport, silence, retry, workers=workers)
        #: Program run last: its activations may be read
        self._program: str | None = None
        self._closed = False
        #: seconds that runs of each Program took
        self._waited: dict[str, float] = {}
        try:
            self.facts = self._handshake()
        except BaseException:
            transport.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def repeated(self) -> int:
        """Requests that had to be sent again so far: 0 on a clean link."""
        return self._requests.repeated

    def write(self, tensors: Mapping[str, Array]) -> None:
        """Overwrite tensors; raises DataError when one has another shape or dtype than the build's."""
        arrays = {name: _as_bytes(self._entry(name), array) for name, array in tensors.items()}
        total = sum(map(len, arrays.values()))
        sent = 0
        room = self.facts.maximum_body - _COUNT.size
        for pieces in self._frames(arrays, room, _RANGE.size):
            body = _COUNT.pack(len(pieces)) + b"".join(_write(piece, arrays) for piece in pieces)
            self._requests.request(Command.WRITE, body)
            sent += sum(piece.length for piece in pieces)
            self._report("write", sent, total)

    def read(self, names: Sequence[str]) -> dict[str, Array]:
        """Copies of tensors, an activation as the Program run last has left it."""
        entries = {name: self._entry(name) for name in names}
        total = sum(entry.nbytes for entry in entries.values())
        received: dict[str, list[bytes]] = {name: [] for name in entries}
        done = 0
        # The request has a range for each piece, and the response their data: each must fit a frame.
        room = self.facts.maximum_body
        for pieces in self._frames(entries, room, _RANGE.size, room):
            data = self._requests.request(Command.READ, b"".join(piece.range for piece in pieces))
            _scatter(pieces, data, received)
            done += len(data)
            self._report("read", done, total)
        return {name: _as_array(entry, b"".join(received[name])) for name, entry in entries.items()}

    def run(
        self,
        program: str,
        inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Write ``inputs``, run a Program or its kernel calls ``[first, last)``, read ``outputs``.

        What fits travels with the request, so a small step is one exchange.
        """
        began = time.perf_counter()
        try:
            return self._run(program, inputs or {}, outputs, calls)
        finally:
            self._waited[program] = self._waited.get(program, 0.0) + time.perf_counter() - began

    def _run(
        self,
        program: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        calls: tuple[int, int] | None,
    ) -> dict[str, Array]:
        index = self.manifest.program_index(program)
        first, last = calls or (0, len(self.manifest.programs[index].calls))
        self._program = program
        arrays = {name: _as_bytes(self._entry(name), array) for name, array in inputs.items()}
        entries = {name: self._entry(name) for name in outputs}
        writes = [_Piece(name, self._entry(name), 0, len(data)) for name, data in arrays.items()]
        reads = [_Piece(name, entry, 0, entry.nbytes) for name, entry in entries.items()]
        room = self.facts.maximum_body
        if _RUN.size + sum(_RANGE.size + piece.length for piece in writes) + _RANGE.size * len(reads) > room:
            self.write(inputs)
            writes = []
        inline = sum(piece.length for piece in reads) <= room and _RUN.size + _RANGE.size * len(reads) <= room
        body = [_RUN.pack(index, first, last, len(writes)), *(_write(piece, arrays) for piece in writes)]
        if inline:
            body += [piece.range for piece in reads]
        self._requests.busy = lambda done, total: self._report(program, done, total)
        try:
            data = self._requests.request(Command.RUN, b"".join(body))
        finally:
            self._requests.busy = None
        if not inline:
            return self.read(outputs)
        received: dict[str, list[bytes]] = {name: [] for name in entries}
        _scatter(reads, data, received)
        return {name: _as_array(entry, b"".join(received[name])) for name, entry in entries.items()}

    def exchange(self, command: Command, body: bytes = b"") -> bytes:
        """One request that is not about tensors, and its response; raises DeviceError and LinkError."""
        return self._requests.request(command, body)

    def work(self) -> Work | None:
        """What the device's requests have taken so far by its own clock; None when it does not count."""
        counted = read_work(self._requests, self.manifest)
        return None if counted is None else replace(counted, waited=dict(self._waited))

    @property
    def store(self) -> DeviceStore:
        """The persistent store of the device."""
        return DeviceStore(self._requests, self.manifest, self.facts.maximum_body)

    def close(self) -> None:
        """Close the link, and say goodbye first to a simulator of ours."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._end:
                self._requests.silence = min(self._requests.silence, 2.0)
                self._requests.request(Command.BYE)
        except McutrainError:
            pass  # it is gone already, which is what we want
        finally:
            self._transport.close()

    def _handshake(self) -> DeviceFacts:
        body = self._requests.hello()
        if len(body) != _HELLO.size:
            raise LinkError(f"{self._transport.name} sent a handshake of {len(body)} bytes", "flash it again")
        protocol, maximum_body, workers, programs, data_size, arena_size, build_id = _HELLO.unpack(body)
        facts = DeviceFacts(protocol, maximum_body, workers, programs, data_size, arena_size, build_id.hex())
        if facts.build_id != self.manifest.build_id:
            raise LinkError(
                f"{self._transport.name} runs build {facts.build_id[:12]}, not "
                f"{self.manifest.build_id[:12]} ('{self.manifest.name}')",
                "flash this build, or name the directory of the build it runs",
            )
        if self._requests.workers not in (0, facts.workers):
            raise OptionError(
                f"build '{self.manifest.name}' was compiled for "
                f"{counted(self.manifest.options.workers, 'worker')}, not {self._requests.workers}",
                "give at most that many, or compile with --workers",
            )
        return facts

    def _entry(self, name: str) -> TensorEntry:
        return self.manifest.tensor(name, self._program)

    def _report(self, what: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(what, done, total)

    def _frames(
        self, names: Iterable[str], room: int, overhead: int, data_room: int | None = None
    ) -> Iterable[list[_Piece]]:
        """Cut tensors into lists of pieces that fit a frame.

        ``room`` bounds the pieces' overhead plus, when ``data_room`` is None,
        their data; ``data_room`` bounds their data apart.
        """
        pieces: list[_Piece] = []
        used = data_used = 0
        for name in names:
            entry = self._entry(name)
            start = 0
            while start < entry.nbytes:
                if data_room is None:
                    free = room - used - overhead
                else:
                    free = data_room - data_used if room - used >= overhead else 0
                if free < min(entry.nbytes - start, 4):
                    yield pieces
                    pieces, used, data_used = [], 0, 0
                    continue
                length = min(free, entry.nbytes - start)
                pieces.append(_Piece(name, entry, start, length))
                used += overhead + (length if data_room is None else 0)
                data_used += length
                start += length
        if pieces:
            yield pieces


def _write(piece: _Piece, arrays: Mapping[str, memoryview]) -> bytes:
    return piece.range + bytes(arrays[piece.name][piece.start : piece.start + piece.length])


def _scatter(pieces: Sequence[_Piece], data: bytes, received: Mapping[str, list[bytes]]) -> None:
    """Sort the bytes of a response to the tensors they belong to."""
    at = 0
    for piece in pieces:
        received[piece.name].append(data[at : at + piece.length])
        at += piece.length
    if at != len(data):
        raise LinkError(f"the device sent {len(data)} bytes instead of {at}", "report this as a bug")


def _as_bytes(entry: TensorEntry, array: Array) -> memoryview:
    """The bytes of an array as the device stores them."""
    expected = np.dtype(NUMPY_DTYPES[entry.dtype])
    if array.dtype != expected or array.shape != tuple(entry.shape):
        raise DataError(
            f"tensor '{entry.name}' is {expected.name}{list(entry.shape)}, "
            f"not {array.dtype.name}{list(array.shape)}",
            "convert the array",
        )
    little = np.ascontiguousarray(array, expected.newbyteorder("<"))
    return memoryview(little.tobytes())


def _as_array(entry: TensorEntry, data: bytes) -> Array:
    little = np.frombuffer(data, np.dtype(NUMPY_DTYPES[entry.dtype]).newbyteorder("<"))
    return little.astype(NUMPY_DTYPES[entry.dtype]).reshape(entry.shape)
