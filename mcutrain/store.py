"""The persistent store: named entries that survive power loss, on a device or on this computer.

``targets/runtime/store.h`` is the device's; :class:`mcutrain.hoststore.HostStore`
gives the NumPy reference one in a file.  A transaction (``begin`` … ``commit``) is there wholly
or not at all.  Entry ``state`` goes back into memory at start.
"""

from __future__ import annotations

import enum
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mcutrain.errors import StoreError
from mcutrain.manifest import Manifest, TensorEntry

#: Entry that is restored at start: the trained state.
STATE = "state"
#: Names are shorter than this many bytes.
NAME_SIZE = 24
#: A certificate of ``targets/runtime/certificate.h``, and where its signature begins.
RECORD = struct.Struct("<4sI16sI32s32s32s32s32sII32s")
SIGNED_SIZE = RECORD.size - 32
RECORD_MAGIC, RECORD_VERSION = b"MCTC", 1
#: Flags of a certificate.
PURGED, SIGNED = 1, 2
_RANGE = struct.Struct("<III")
_REGIONS = {"data": 0, "arena": 1}


class Kind(enum.IntEnum):
    """What an entry is."""

    BYTES = 0
    #: a copy of tensors
    STATE = 1
    #: SHA-256 of tensors, computed where they are
    HASH = 2
    #: never read
    KEY = 3
    #: certificates
    CHAIN = 4


@dataclass(frozen=True)
class StoreEntry:
    """One entry: its kind, bytes and CRC-32."""

    name: str
    kind: Kind
    length: int
    crc: int


@dataclass(frozen=True)
class StoreFacts:
    """What a store says about itself; ``size`` 0 means that there is none."""

    #: bytes, and bytes that an entry's length is rounded up to
    size: int
    block: int
    #: of the last commit, 0 before the first
    sequence: int
    entries: int
    #: bytes not in use
    free: int
    #: the state was restored at start
    restored: bool
    #: another build wrote the entries
    foreign: bool
    #: a device key is set
    keyed: bool
    #: nothing but the newest entries is left
    purged: bool
    most_entries: int


class Store(Protocol):
    """Entries by name.  Every method raises StoreError when the store refuses."""

    def facts(self) -> StoreFacts: ...

    def entries(self) -> dict[str, StoreEntry]:
        """The entries of the last commit."""

    def read(self, name: str) -> bytes: ...

    def begin(self) -> None:
        """Open a transaction; one that is open is dropped."""

    def put(self, name: str, data: bytes) -> None: ...

    def keep(self, name: str, tensors: Sequence[str]) -> None:
        """An entry that is a copy of tensors as they are now."""

    def digest(self, name: str, tensors: Sequence[str]) -> bytes:
        """An entry that is the SHA-256 of tensors as they are now; returns it."""

    def link(self, name: str, other: str) -> None:
        """A second name for the bytes of an entry."""

    def delete(self, name: str) -> None: ...

    def commit(self, purge: bool = False) -> int:
        """End the transaction; with ``purge`` nothing older is left.  Returns the sequence number."""

    def restore(self, name: str) -> None:
        """Copy an entry made by ``keep`` back into its tensors."""

    def hash(self, tensors: Sequence[str]) -> bytes:
        """SHA-256 of tensors' bytes (little-endian, the device's layout), one after another."""

    def set_key(self, key: bytes) -> bytes:
        """Set the device key (32 bytes), once; returns the device id (16 bytes)."""

    def certify(self, before: str, text: str, tensors: Sequence[str]) -> bytes:
        """In a transaction: append a certificate to the chain; returns it."""


@dataclass(frozen=True)
class Record:
    """The part of a certificate that a device makes and signs; see ``targets/runtime/certificate.h``."""

    device_id: bytes
    counter: int
    build_id: bytes
    before: bytes
    after: bytes
    text: bytes
    previous: bytes
    sequence: int
    flags: int
    signature: bytes = bytes(32)

    def pack(self) -> bytes:
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        return RECORD.pack(RECORD_MAGIC, RECORD_VERSION, *values)

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Raises ValueError when these are not the bytes of a record."""
        if len(data) != RECORD.size:
            raise ValueError(f"a record has {RECORD.size} bytes, not {len(data)}")
        magic, version, *values = RECORD.unpack(data)
        if magic != RECORD_MAGIC or version != RECORD_VERSION:
            raise ValueError("not a record of this version")
        return cls(*values)

    def signed(self, key: bytes) -> bytes:
        """The signature that the key's owner puts there."""
        return hmac.digest(key, self.pack()[:SIGNED_SIZE], "sha256")


def device_id(key: bytes) -> bytes:
    """What a device with this key calls itself: 16 bytes that do not tell the key."""
    return hmac.digest(key, b"mcutrain device", "sha256")[:16]


def state_bytes(manifest: Manifest, values: Sequence[tuple[str, bytes]]) -> bytes:
    """An entry of kind STATE: the ranges, then their bytes."""
    ranges = b"".join(tensor_range(manifest.tensor(name)) for name, _ in values)
    return len(values).to_bytes(4, "little") + ranges + b"".join(data for _, data in values)


def tensor_range(entry: TensorEntry) -> bytes:
    """Where a tensor is, as the protocol says it."""
    return _RANGE.pack(_REGIONS[entry.region], entry.offset, entry.nbytes)


def check_name(name: str) -> bytes:
    """The name as the device takes it; raises StoreError."""
    data = name.encode()
    if not 0 < len(data) < NAME_SIZE or 0 in data:
        raise StoreError(f"'{name}' is no name for an entry", f"give 1 to {NAME_SIZE - 1} bytes")
    return data.ljust(NAME_SIZE, b"\0")
