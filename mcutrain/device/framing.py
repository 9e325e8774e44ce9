"""Frames: how commands and responses travel over a stream that may lose or damage bytes.

The layout is documented in ``targets/runtime/protocol.h``, the other side::

    00 | COBS(header) | 00 | COBS(body, CRC-32 of body) | 00

COBS (Cheshire and Baker, 1997) leaves no zero byte inside, so a reader finds
the next frame wherever it comes in.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass

from cobs import cobs

#: Version of the protocol this driver speaks.
PROTOCOL_VERSION = 1
_MAGIC = ord("M")
_FIELDS = struct.Struct("<BBBBIII")
_U32 = struct.Struct("<I")
_CRC_SIZE = 4
_HEADER_ENCODED = _FIELDS.size + _CRC_SIZE + 1
#: Nothing longer than this between two zero bytes can be part of a frame.
_LONGEST = 2 << 20


class Command(enum.IntEnum):
    """What a frame asks for, or what the device tells by itself."""

    HELLO = 1
    READ = 2
    WRITE = 3
    RUN = 4
    BYE = 5
    RESUME = 6
    PROFILE = 0x18
    READ_PROFILE = 0x19
    WORK = 0x1A
    #: the persistent store
    STORE_STATUS = 0x20
    STORE_LIST = 0x21
    STORE_READ = 0x22
    STORE_BEGIN = 0x23
    STORE_CREATE = 0x24
    STORE_APPEND = 0x25
    STORE_KEEP = 0x26
    STORE_DIGEST = 0x27
    STORE_LINK = 0x28
    STORE_DELETE = 0x29
    STORE_COMMIT = 0x2A
    STORE_RESTORE = 0x2B
    HASH = 0x2C
    KEY_SET = 0x2D
    CERTIFY = 0x2E
    #: from the device: a Program is still running
    BUSY = 0x7E
    #: from the device: a frame came damaged
    DAMAGED = 0x7F


#: Added to a request's command in its response.
RESPONSE = 0x80


@dataclass(frozen=True)
class Frame:
    """One frame; ``status`` is 0 except in a response that reports an error."""

    command: int
    sequence: int
    body: bytes = b""
    status: int = 0
    version: int = PROTOCOL_VERSION


def encode(frame: Frame) -> bytes:
    """The bytes of a frame on the wire."""
    body = cobs.encode(frame.body + _U32.pack(zlib.crc32(frame.body)))
    fields = _FIELDS.pack(
        _MAGIC, frame.version, frame.command, frame.status, frame.sequence, len(frame.body), len(body)
    )
    header = cobs.encode(fields + _U32.pack(zlib.crc32(fields)))
    return b"".join((b"\0", header, b"\0", body, b"\0"))


class Decoder:
    """Finds frames in a stream; whatever is not a whole, undamaged frame is skipped and counted."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._header: tuple[int, ...] | None = None
        #: damaged pieces skipped so far
        self.damaged = 0

    def reset(self) -> None:
        """Forget a half-received frame."""
        self._buffer.clear()
        self._searched = 0
        self._header = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with ``data``."""
        self._buffer += data
        frames = []
        start = 0
        while (end := self._buffer.find(b"\0", max(start, self._searched))) >= 0:
            if end > start:
                frame = self._piece(bytes(memoryview(self._buffer)[start:end]))
                if frame is not None:
                    frames.append(frame)
            start = end + 1
        del self._buffer[:start]
        if len(self._buffer) > _LONGEST:
            self.reset()
            self.damaged += 1
        self._searched = len(self._buffer)
        return frames

    def _piece(self, piece: bytes) -> Frame | None:
        """Take what was between two zero bytes: a header, or the body that follows one."""
        if self._header is not None:
            _, version, command, status, sequence, length, encoded = self._header
            self._header = None
            body = _decode(piece) if len(piece) == encoded else None
            if body is not None and len(body) == length:
                return Frame(command, sequence, body, status, version)
        header = _decode(piece) if len(piece) == _HEADER_ENCODED else None
        if header is not None and len(header) == _FIELDS.size and header[0] == _MAGIC:
            self._header = _FIELDS.unpack(header)
        else:
            self.damaged += 1
        return None


def _decode(piece: bytes) -> bytes | None:
    """The data in COBS(data, CRC-32 of data); None when it is damaged."""
    try:
        data = cobs.decode(piece)
    except cobs.DecodeError:
        return None
    if len(data) < _CRC_SIZE or zlib.crc32(data[:-_CRC_SIZE]) != _U32.unpack(data[-_CRC_SIZE:])[0]:
        return None
    return bytes(data[:-_CRC_SIZE])
