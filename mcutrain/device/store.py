"""The store of a device, over the protocol: ``targets/runtime/store_requests.h`` is the other side."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mcutrain.device.framing import Command
from mcutrain.device.requests import Requester
from mcutrain.errors import LinkError, StoreError
from mcutrain.manifest import Manifest
from mcutrain.store import RECORD, Kind, StoreEntry, StoreFacts, check_name, tensor_range

_U32 = struct.Struct("<I")
_PAIR = struct.Struct("<II")
_STATUS = struct.Struct("<7I")
_ENTRY = struct.Struct("<24sIIII")
_RESTORED, _FOREIGN, _KEYED, _PURGED = 2, 4, 8, 16


class DeviceStore:
    """Implements :class:`mcutrain.store.Store`.

    Args:
        requester: the link.
        manifest: of the build the device runs.
        room: longest body of a frame in bytes.
    """

    def __init__(self, requester: Requester, manifest: Manifest, room: int) -> None:
        self._requester = requester
        self._manifest = manifest
        self._room = room

    def facts(self) -> StoreFacts:
        body = self._request(Command.STORE_STATUS, expected=_STATUS.size)
        size, block, sequence, entries, free, flags, most = _STATUS.unpack(body)
        return StoreFacts(
            size=size,
            block=block,
            sequence=sequence,
            entries=entries,
            free=free * block,
            restored=bool(flags & _RESTORED),
            foreign=bool(flags & _FOREIGN),
            keyed=bool(flags & _KEYED),
            purged=bool(flags & _PURGED),
            most_entries=most,
        )

    def entries(self) -> dict[str, StoreEntry]:
        found: dict[str, StoreEntry] = {}
        while True:
            body = self._request(Command.STORE_LIST, _PAIR.pack(len(found), 0))
            if not body:
                return found
            if len(body) % _ENTRY.size:
                raise LinkError(f"the device sent a list of {len(body)} bytes", "report this as a bug")
            for name, kind, _, length, crc in _ENTRY.iter_unpack(body):
                text = name.rstrip(b"\0").decode("utf-8", "replace")
                found[text] = StoreEntry(text, Kind(kind), length, crc)

    def read(self, name: str) -> bytes:
        entry = self.entries().get(name)
        if entry is None:
            raise StoreError(f"there is no entry '{name}'")
        pieces = []
        for at in range(0, max(entry.length, 1), self._room):
            count = min(self._room, entry.length - at)
            asked = check_name(name) + _PAIR.pack(at, count)
            pieces.append(self._request(Command.STORE_READ, asked, expected=count))
        return b"".join(pieces)

    def begin(self) -> None:
        self._request(Command.STORE_BEGIN)

    def put(self, name: str, data: bytes) -> None:
        first = self._room - len(check_name(name)) - _U32.size
        self._request(Command.STORE_CREATE, check_name(name) + _U32.pack(len(data)) + data[:first])
        step = self._room - _U32.size
        for at in range(first, len(data), step):
            self._request(Command.STORE_APPEND, _U32.pack(at) + data[at : at + step])

    def keep(self, name: str, tensors: Sequence[str]) -> None:
        self._request(Command.STORE_KEEP, check_name(name) + self._ranges(tensors))

    def digest(self, name: str, tensors: Sequence[str]) -> bytes:
        return self._request(Command.STORE_DIGEST, check_name(name) + self._ranges(tensors), expected=32)

    def link(self, name: str, other: str) -> None:
        self._request(Command.STORE_LINK, check_name(name) + check_name(other))

    def delete(self, name: str) -> None:
        self._request(Command.STORE_DELETE, check_name(name))

    def commit(self, purge: bool = False) -> int:
        body = self._request(Command.STORE_COMMIT, _U32.pack(int(purge)), expected=_U32.size)
        return int(_U32.unpack(body)[0])

    def restore(self, name: str) -> None:
        self._request(Command.STORE_RESTORE, check_name(name))

    def hash(self, tensors: Sequence[str]) -> bytes:
        return self._request(Command.HASH, self._ranges(tensors), expected=32)

    def set_key(self, key: bytes) -> bytes:
        if len(key) != 32:
            raise StoreError(f"the key has {len(key)} bytes", "give 32")
        return self._request(Command.KEY_SET, key, expected=16)

    def certify(self, before: str, text: str, tensors: Sequence[str]) -> bytes:
        body = check_name(before) + check_name(text) + self._ranges(tensors)
        return self._request(Command.CERTIFY, body, expected=RECORD.size)

    def _ranges(self, tensors: Sequence[str]) -> bytes:
        return b"".join(tensor_range(self._manifest.tensor(name)) for name in tensors)

    def _request(self, command: Command, body: bytes = b"", expected: int | None = None) -> bytes:
        got = self._requester.request(command, body)
        if expected is not None and len(got) != expected:
            raise LinkError(
                f"the device sent {len(got)} bytes for {command.name} instead of {expected}",
                "report this as a bug",
            )
        return got
