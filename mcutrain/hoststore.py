"""The persistent store of an executor on this computer: a file."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mcutrain.errors import StoreError
from mcutrain.executor import Executor
from mcutrain.files import parse_json, whole_file
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import Manifest
from mcutrain.store import (
    PURGED,
    RECORD,
    SIGNED,
    SIGNED_SIZE,
    STATE,
    Kind,
    Record,
    StoreEntry,
    StoreFacts,
    check_name,
    device_id,
    state_bytes,
    tensor_range,
)

#: A range in an entry that is a copy of tensors.
_RANGE_SIZE = 12


class HostStore:
    """The store of an executor on this computer, in a file that is replaced as a whole.

    Args:
        executor: whose tensors are kept.
        manifest: of its build.
        path: the file; missing means empty.

    Raises:
        StoreError: the file is damaged.
    """

    def __init__(self, executor: Executor, manifest: Manifest, path: Path) -> None:
        self._executor = executor
        self._manifest = manifest
        self._path = path
        self._sequence, self._purged, self._build, self._entries = self._load()
        self._staged: dict[str, tuple[Kind, bytes]] | None = None
        self._restored = False
        if STATE in self._entries and not self.facts().foreign:
            self.restore(STATE)
            self._restored = True

    def facts(self) -> StoreFacts:
        size = 1 << 30
        used = sum(len(data) for _, data in self._entries.values())
        foreign = bool(self._build) and self._build != self._manifest.build_id
        keyed = any(kind == Kind.KEY for kind, _ in self._entries.values())
        return StoreFacts(
            size=size,
            block=1,
            sequence=self._sequence,
            entries=len(self._entries),
            free=size - used,
            restored=self._restored,
            foreign=foreign,
            keyed=keyed,
            purged=self._purged,
            most_entries=1 << 16,
        )

    def entries(self) -> dict[str, StoreEntry]:
        return {
            name: StoreEntry(name, kind, len(data), zlib.crc32(data))
            for name, (kind, data) in self._entries.items()
        }

    def read(self, name: str) -> bytes:
        kind, data = self._find(self._entries, name)
        if kind == Kind.KEY:
            raise StoreError("a key is never read", "keep a copy where it was made")
        return data

    def begin(self) -> None:
        self._staged = dict(self._entries)

    def put(self, name: str, data: bytes) -> None:
        self._create(name, Kind.BYTES, data)

    def keep(self, name: str, tensors: Sequence[str]) -> None:
        self._create(name, Kind.STATE, state_bytes(self._manifest, self._values(tensors)))

    def digest(self, name: str, tensors: Sequence[str]) -> bytes:
        value = self.hash(tensors)
        self._create(name, Kind.HASH, value)
        return value

    def link(self, name: str, other: str) -> None:
        self._create(other, *self._find(self._open(), name))

    def delete(self, name: str) -> None:
        staged = self._open()
        if self._find(staged, name)[0] in (Kind.KEY, Kind.CHAIN):
            raise StoreError(f"entry '{name}' is there for good")
        del staged[name]

    def commit(self, purge: bool = False) -> int:
        staged = self._open()
        self._save(self._sequence + 1, purge, staged)
        self._entries, self._staged = staged, None
        self._sequence, self._purged, self._build = self._sequence + 1, purge, self._manifest.build_id
        return self._sequence

    def restore(self, name: str) -> None:
        kind, data = self._find(self._entries, name)
        if kind != Kind.STATE:
            raise StoreError(f"entry '{name}' is no copy of tensors")
        places = {tensor_range(tensor): tensor for tensor in self._manifest.tensors}
        count = int.from_bytes(data[:4], "little")
        at = 4 + _RANGE_SIZE * count
        tensors = {}
        for i in range(count):
            place = data[4 + _RANGE_SIZE * i : 4 + _RANGE_SIZE * (i + 1)]
            tensor = places.get(place)
            if tensor is None or at + tensor.nbytes > len(data):
                raise StoreError(
                    f"entry '{name}' is of another build", "compile the model into a new directory"
                )
            dtype = np.dtype(NUMPY_DTYPES[tensor.dtype])
            array = np.frombuffer(data[at : at + tensor.nbytes], dtype.newbyteorder("<"))
            tensors[tensor.name] = array.astype(dtype).reshape(tensor.shape)
            at += tensor.nbytes
        self._executor.write(tensors)

    def hash(self, tensors: Sequence[str]) -> bytes:
        return hashlib.sha256(b"".join(data for _, data in self._values(tensors))).digest()

    def set_key(self, key: bytes) -> bytes:
        if len(key) != 32:
            raise StoreError(f"the key has {len(key)} bytes", "give 32")
        if self.facts().keyed:
            raise StoreError("the device key is set already", "it is set once in a device's life")
        self.begin()
        self._create("key", Kind.KEY, key)
        self.commit()
        return device_id(key)

    def certify(self, before: str, text: str, tensors: Sequence[str]) -> bytes:
        staged = self._open()
        kind, digest = self._find(staged, before)
        if kind != Kind.HASH:
            raise StoreError(f"there is no digest '{before}'")
        chain = staged.get("chain", (Kind.CHAIN, b""))[1]
        key = next((data for kind, data in self._entries.values() if kind == Kind.KEY), None)
        record = Record(
            device_id=device_id(key) if key else bytes(16),
            counter=len(chain) // RECORD.size + 1,
            build_id=bytes.fromhex(self._manifest.build_id),
            before=digest,
            after=self.hash(tensors),
            text=hashlib.sha256(self._find(staged, text)[1]).digest(),
            previous=hashlib.sha256(chain[-RECORD.size :]).digest() if chain else bytes(32),
            sequence=self._sequence,
            flags=(PURGED if self._purged else 0) | (SIGNED if key else 0),
        )
        packed = record.pack()
        if key:
            packed = packed[:SIGNED_SIZE] + record.signed(key)
        staged["chain"] = (Kind.CHAIN, chain + packed)
        return packed

    def _values(self, tensors: Sequence[str]) -> list[tuple[str, bytes]]:
        got = self._executor.read(list(tensors))
        return [
            (name, np.ascontiguousarray(got[name], got[name].dtype.newbyteorder("<")).tobytes())
            for name in tensors
        ]

    def _open(self) -> dict[str, tuple[Kind, bytes]]:
        if self._staged is None:
            raise StoreError("no transaction is open")
        return self._staged

    def _create(self, name: str, kind: Kind, data: bytes) -> None:
        check_name(name)
        staged = self._open()
        old = staged.get(name, (Kind.BYTES, b""))[0]
        if old in (Kind.KEY, Kind.CHAIN):
            raise StoreError(f"entry '{name}' is there for good")
        staged[name] = (kind, data)

    @staticmethod
    def _find(entries: dict[str, tuple[Kind, bytes]], name: str) -> tuple[Kind, bytes]:
        if name not in entries:
            raise StoreError(f"there is no entry '{name}'")
        return entries[name]

    def _save(self, sequence: int, purged: bool, entries: dict[str, tuple[Kind, bytes]]) -> None:
        """Replace the file: a head in JSON, one line, and the entries' bytes."""
        listing = [asdict(StoreEntry(n, k, len(d), zlib.crc32(d))) for n, (k, d) in entries.items()]
        head = {
            "build_id": self._manifest.build_id,
            "sequence": sequence,
            "purged": purged,
            "entries": listing,
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path, private=True) as file:
                file.write(json.dumps(head).encode() + b"\n")
                for _, data in entries.values():
                    file.write(data)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}", "make room there") from None

    def _load(self) -> tuple[int, bool, str, dict[str, tuple[Kind, bytes]]]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return 0, False, "", {}
        except OSError as error:
            raise StoreError(f"cannot read {self._path}: {error.strerror}") from None
        first, _, rest = data.partition(b"\n")
        try:
            head = parse_json(first)
            entries, at = {}, 0
            for listed in head["entries"]:
                piece = rest[at : at + listed["length"]]
                if zlib.crc32(piece) != listed["crc"] or len(piece) != listed["length"]:
                    raise ValueError(f"entry '{listed['name']}' is not what was written")
                entries[str(listed["name"])] = (Kind(listed["kind"]), piece)
                at += len(piece)
            return int(head["sequence"]), bool(head["purged"]), str(head["build_id"]), entries
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._path} is damaged: {error}", "remove it to start anew") from None
