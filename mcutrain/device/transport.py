"""Byte streams to a device.  No call waits longer than it is told to."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import Any, Protocol

import serial

from mcutrain.errors import LinkError

_CHUNK = 1 << 16


class Transport(Protocol):
    """A byte stream with a name for messages.

    Both calls raise LinkError, or SimulatorError when a simulator at the other
    end has died.
    """

    @property
    def name(self) -> str:
        """What is at the other end: a port, a simulator."""

    def read(self, timeout: float) -> bytes:
        """At least one byte, or none when ``timeout`` seconds have passed."""

    def write(self, data: bytes, timeout: float) -> None:
        """Send all of ``data``; raises LinkError when it takes more than ``timeout`` seconds."""

    def close(self) -> None:
        """Give the stream up; a second call does nothing."""


class DescriptorTransport:
    """A stream over a file descriptor of ours: a socket or the master end of a pty."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._received = bytearray()
        os.set_blocking(descriptor, False)

    @property
    def name(self) -> str:
        return self._name

    def read(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while not self._received:
            left = deadline - time.monotonic()
            self._wait(select.POLLIN, max(left, 0.0))
            if not self._fill() and left <= 0:
                return b""
        data = bytes(self._received)
        self._received.clear()
        return data

    def write(self, data: bytes, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        view = memoryview(data)
        while view:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LinkError(
                    f"{self.name} took {len(data) - len(view)} of {len(data)} bytes in {timeout:.0f} s",
                    "check that the device runs; then try again",
                )
            # Reading meanwhile keeps a device that is sending from waiting for us for ever.
            self._wait(select.POLLIN | select.POLLOUT, left)
            self._fill()
            with contextlib.suppress(BlockingIOError):
                view = view[self._send(view) :]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def lost(self) -> Exception:
        """The error to raise when the other end is gone."""
        return LinkError(f"{self.name} closed the link", "start it again")

    def poll(self) -> None:
        """Raise when the other end is known to be gone; called while waiting."""

    def _wait(self, events: int, timeout: float) -> None:
        """Wait for an event, at most a short while so that :meth:`poll` is called in between."""
        poller = select.poll()
        poller.register(self._open(), events)
        if not poller.poll(min(timeout, 0.1) * 1000):
            self.poll()

    def _open(self) -> int:
        if self._descriptor < 0:
            raise LinkError(f"{self.name} is closed", "open a new session")
        return self._descriptor

    def _fill(self) -> bool:
        """Take what has arrived; whether there was any."""
        try:
            data = os.read(self._open(), _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # a pty says EIO when its other end is closed
            data = b""
        if not data:
            raise self.lost()
        self._received += data
        return True

    def _send(self, data: memoryview) -> int:
        try:
            return os.write(self._open(), data[:_CHUNK])
        except BlockingIOError:
            raise
        except OSError:
            raise self.lost() from None


class SerialTransport:
    """A serial port: a device path, or any URL that pyserial knows (``socket://host:port``)."""

    def __init__(self, port: str, baud_rate: int = 115200) -> None:
        """Open the port; raises LinkError when it is missing, in use or refused."""
        options: dict[str, Any] = {"timeout": 0, "write_timeout": 10}
        if "://" not in port:
            options["exclusive"] = True
        try:
            self._port = serial.serial_for_url(port, baud_rate, **options)
        except (OSError, ValueError) as error:
            raise LinkError(f"cannot open port '{port}': {error}", _remedy(error)) from None
        self._name = f"port {port}"
        try:
            self._descriptor: int | None = self._port.fileno()
        except (OSError, AttributeError, TypeError):
            self._descriptor = None

    @property
    def name(self) -> str:
        return self._name

    def read(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        try:
            while True:
                data = bytes(self._port.read(_CHUNK))
                left = deadline - time.monotonic()
                if data or left <= 0:
                    return data
                if self._descriptor is None:
                    time.sleep(min(left, 0.001))
                else:
                    select.select([self._descriptor], [], [], left)
        except (OSError, TypeError, ValueError) as error:
            raise self._lost(error) from None

    def write(self, data: bytes, timeout: float) -> None:
        try:
            if self._port.write_timeout != timeout:
                self._port.write_timeout = timeout
            self._port.write(data)
        except (OSError, TypeError, ValueError) as error:
            raise self._lost(error) from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def _lost(self, error: Exception) -> LinkError:
        return LinkError(
            f"{self.name} failed: {error}", "check the cable and that nothing else uses the port"
        )


def _remedy(error: Exception) -> str:
    text = str(error).lower()
    if "lock" in text or "busy" in text or "in use" in text:
        return "another program uses it: close that first"
    if "permission" in text:
        return "add yourself to the group that owns the port (often 'dialout') and log in again"
    if "refused" in text:
        return "start the server that should listen there"
    return "check the name; 'mcutrain doctor' lists the serial ports"
