"""Requests: one command and its response over a transport, however the link misbehaves."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mcutrain.device.framing import PROTOCOL_VERSION, RESPONSE, Command, Decoder, Frame, encode
from mcutrain.device.transport import Transport
from mcutrain.errors import DeviceError, LinkError, StoreError

#: Status by which firmware refuses a protocol version it does not speak.
_BAD_VERSION = 1
#: Status of every command but HELLO after a reset.
_NOT_GREETED = 7
#: Status of HELLO when the cores lack instructions that the kernels use.
_UNFIT = 8
#: Status of a request that the store refuses.
_STORE_REFUSED = 9
#: Zero bytes sent, first and at most, to end a frame that a driver before us left half sent.
_FLUSH, _LONGEST_FLUSH = 1 << 9, 1 << 15

_STORE_REMEDIES = {
    "the device has no flash": "start the simulator with a state file, or use a board with flash",
    "the store is full": "give a smaller --snapshot-budget",
    "the device key is set already": "it is set once in a device's life",
    "a key is never read": "keep a copy where it was made",
}

#: Called while a Program runs with kernel calls done and in all.
Busy = Callable[[int, int], None]


class Requester:
    """Sends requests one at a time and repeats them until they are answered.

    A request that is repeated has the same sequence number, and the device
    answers it again without doing it again.

    Args:
        transport: the byte stream; the requester does not close it.
        silence: seconds without a sign of life after which the link is given up.
        retry: seconds without a sign of life after which a request is repeated.
        workers: cores the device is told to use when it is greeted, 0 for all.
    """

    def __init__(
        self, transport: Transport, silence: float = 10.0, retry: float = 1.0, workers: int = 0
    ) -> None:
        self.transport = transport
        self.workers = workers
        self.silence = silence
        self.retry = retry
        #: requests repeated so far
        self.repeated = 0
        #: called while a Program runs
        self.busy: Busy | None = None
        self._decoder = Decoder()
        self._sequence = secrets.randbits(31)
        self._in_step = False
        self._last_byte = 0.0

    def request(self, command: Command, body: bytes = b"") -> bytes:
        """The body of the response.

        A keyboard interrupt is raised only when the response has come, so the
        device is ready for the next request; a second one is raised at once.

        Raises:
            DeviceError: the device refuses the request.
            LinkError: no answer.
            SimulatorError: the simulator died.
        """
        with _deferred_interrupt():
            if not self._in_step:
                _checked(self._find(Command.RESUME), self.transport.name)
            self._in_step = False
            response = self._exchange(command, body)
            self._in_step = True
        return _checked(response, self.transport.name)

    def hello(self) -> bytes:
        """Get in step with the device, whatever state it and the link are in; its facts."""
        with _deferred_interrupt():
            workers = self.workers.to_bytes(4, "little")
            return _checked(self._find(Command.HELLO, workers), self.transport.name)

    def _exchange(self, command: Command, body: bytes) -> Frame:
        """Send a request until its response comes."""
        sequence = self._next()
        wire = encode(Frame(command, sequence, body))
        self.transport.write(wire, self.silence)
        heard = self._last_byte = time.monotonic()
        waiting = f"the response to {command.name} ({len(body)} bytes sent)"
        while True:
            now = time.monotonic()
            if now - heard >= self.silence:
                raise LinkError(
                    f"no answer from {self.transport.name} in {self.silence:g} s while waiting for {waiting}",
                    "check the link and reset the device",
                )
            repeat = False
            for frame in self._receive(self._last_byte + self.retry - now):
                if frame.sequence == sequence and frame.command == command | RESPONSE:
                    return frame
                if frame.command == Command.BUSY:
                    heard = time.monotonic()
                    self._note(frame)
                repeat |= frame.command == Command.DAMAGED
            # Bytes that come are a response on its way, however slow the line.
            if repeat or time.monotonic() - self._last_byte >= self.retry:
                self.repeated += 1
                self.transport.write(wire, self.silence)
                self._last_byte = time.monotonic()

    def _find(self, command: Command, body: bytes = b"") -> Frame:
        """Send a harmless command until the device answers.

        It may be in the middle of a frame that a driver before us never
        finished: zero bytes end that frame, and are skipped between frames.
        """
        self._decoder.reset()
        heard = time.monotonic()
        sequences = set()
        pause, flush = 0.05, _FLUSH
        while time.monotonic() - heard < self.silence:
            sequence = self._next()
            sequences.add(sequence)
            self.transport.write(encode(Frame(command, sequence, body)), self.silence)
            deadline = time.monotonic() + pause
            while (left := deadline - time.monotonic()) > 0:
                for frame in self._receive(left):
                    if frame.sequence in sequences and frame.command == command | RESPONSE:
                        self._in_step = True
                        return frame
                    if frame.command == Command.BUSY:
                        heard = time.monotonic()
            self.transport.write(bytes(flush), self.silence)
            flush = min(4 * flush, _LONGEST_FLUSH)
            pause = min(2 * pause, self.retry)
        raise LinkError(
            f"no answer from {self.transport.name} in {self.silence:g} s "
            f"while waiting for the response to {command.name}",
            "check that the device runs this project's firmware, and the port's name and speed",
        )

    def _receive(self, timeout: float) -> list[Frame]:
        """Frames that arrive within ``timeout`` seconds, possibly none."""
        data = self.transport.read(max(timeout, 0.0))
        if not data:
            return []
        self._last_byte = time.monotonic()
        return self._decoder.feed(data)

    def _note(self, frame: Frame) -> None:
        if self.busy is not None and len(frame.body) == 8:
            self.busy(int.from_bytes(frame.body[:4], "little"), int.from_bytes(frame.body[4:], "little"))

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence


def _checked(frame: Frame, name: str) -> bytes:
    """The body of a good response; raises the error that another one reports."""
    if frame.version != PROTOCOL_VERSION or frame.status == _BAD_VERSION:
        raise LinkError(
            f"{name} speaks version {frame.version} of the protocol, this mcutrain {PROTOCOL_VERSION}",
            "build the firmware again with this version and flash it",
        )
    if frame.status == _NOT_GREETED:
        raise LinkError(
            f"{name} was reset: what it had learned is gone",
            "open a new session and push the last good weights",
        )
    if frame.status == _UNFIT:
        raise DeviceError(
            f"{name} cannot run this build: {frame.body.decode('ascii', 'replace')}",
            "compile for a target whose instructions the device has",
        )
    if frame.status == _STORE_REFUSED:
        reason = frame.body.decode("ascii", "replace")
        raise StoreError(f"the store of {name} refused: {reason}", _STORE_REMEDIES.get(reason, ""))
    if frame.status:
        number = frame.command & ~RESPONSE
        command = next((known.name for known in Command if known == number), f"command {number}")
        reason = frame.body.decode("ascii", "replace")
        raise DeviceError(
            f"{name} refused {command}: {reason} (status {frame.status})", "report this as a bug"
        )
    return frame.body


@contextmanager
def _deferred_interrupt() -> Iterator[None]:
    """Hold back the first keyboard interrupt until the block ends; a second one is raised at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):  # ignored, or not set from Python
        yield
        return
    came = False

    def handler(number: int, frame: FrameType | None) -> Any:
        nonlocal came
        if came:
            came = False
            return previous(number, frame)
        came = True
        return None

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if came:
            signal.raise_signal(signal.SIGINT)
