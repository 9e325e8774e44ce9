"""Device keys and the certificates that a device makes: the same on a device and on this computer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import handmade
import numpy as np
import pytest
from test_store import TENSORS, Board, board, native_board, values  # noqa: F401 - fixtures

from mcutrain.device.framing import Command
from mcutrain.errors import StoreError
from mcutrain.hoststore import HostStore
from mcutrain.store import PURGED, SIGNED, Record, Store, device_id

KEY = bytes(range(32))


class Tensors:
    """An executor of the hand-made model's tensors alone."""

    def __init__(self) -> None:
        self.values = {"head": np.array([1 | 2 << 8 | 3 << 16 | 4 << 24, 0, 0, 0], np.int32)}
        self.values["half"] = np.zeros((3, 5), np.float16)

    def write(self, tensors: dict[str, np.ndarray]) -> None:
        self.values.update(tensors)

    def read(self, names: list[str]) -> dict[str, np.ndarray]:
        return {name: self.values[name] for name in names}


def history(store: Store, write: object) -> list[bytes]:
    """Two certificates without a key, then two with one."""
    records = []
    for i in range(4):
        if i == 2:
            assert store.set_key(KEY) == device_id(KEY)
        write(values(i))  # type: ignore[operator]
        store.begin()
        store.digest("before", TENSORS)
        store.put("text", b"what was done %d" % i * 100)
        store.keep("state", TENSORS)
        store.commit(purge=i % 2 == 1)
        write(values(i + 1))  # type: ignore[operator]
        store.begin()
        records.append(store.certify("before", "text", TENSORS))
        store.commit()
    assert store.read("chain") == b"".join(records)
    return records


def test_records_say_what_happened(board: Board, tmp_path: Path) -> None:  # noqa: F811
    with board.session() as session:
        records = history(session.store, session.write)
    tensors = Tensors()
    host = history(HostStore(tensors, handmade.manifest(), tmp_path / "host"), tensors.write)  # type: ignore[arg-type]
    assert records == host
    previous = bytes(32)
    for i, packed in enumerate(records):
        record = Record.unpack(packed)
        assert record.counter == i + 1
        assert record.build_id == bytes.fromhex(handmade.BUILD_ID)
        assert record.previous == previous
        assert record.text == hashlib.sha256(b"what was done %d" % i * 100).digest()
        for digest, seed in ((record.before, i), (record.after, i + 1)):
            data = values(seed)["head"].tobytes() + values(seed)["half"].tobytes()
            assert digest == hashlib.sha256(data).digest()
        assert record.flags == (PURGED if i % 2 else 0) | (SIGNED if i > 1 else 0)
        assert record.signature == (record.signed(KEY) if i > 1 else bytes(32))
        assert record.device_id == (device_id(KEY) if i > 1 else bytes(16))
        previous = hashlib.sha256(packed).digest()


@pytest.fixture
def stores(native_board: Board, tmp_path: Path) -> Iterator[list[Store]]:  # noqa: F811
    """A device's and a host's, both with a key."""
    with native_board.session() as session:
        both = [session.store, HostStore(Tensors(), handmade.manifest(), tmp_path / "host")]  # type: ignore[arg-type]
        for store in both:
            store.set_key(KEY)
            assert store.facts().keyed
        yield both


def test_a_key_is_set_once_and_never_read(stores: list[Store]) -> None:
    for store in stores:
        with pytest.raises(StoreError, match="the device key is set already"):
            store.set_key(KEY[::-1])
        with pytest.raises(StoreError, match="a key is never read"):
            store.read("key")
        store.begin()
        store.digest("before", TENSORS)
        store.put("text", b"t")
        store.certify("before", "text", TENSORS)
        for name in ("key", "chain"):
            with pytest.raises(StoreError, match="there for good"):
                store.delete(name)
            with pytest.raises(StoreError, match="there for good"):
                store.put(name, bytes(32))
            with pytest.raises(StoreError, match="there for good"):
                store.keep(name, TENSORS)
            with pytest.raises(StoreError, match="there for good"):
                store.link("text", name)


def test_no_answer_holds_the_key(native_board: Board) -> None:  # noqa: F811
    """All that the protocol can be made to say, under any name the key is given."""
    heard = []
    with native_board.session() as session:
        requester = session._requests
        exchange = requester._exchange

        def listen(command: Command, body: bytes) -> object:
            frame = exchange(command, body)
            heard.append(frame.body)
            return frame

        requester._exchange = listen  # type: ignore[method-assign]
        session.store.set_key(KEY)
        for other in ("key", "open"):
            session.store.begin()
            with pytest.raises(StoreError):
                session.store.link("key", other)
            session.store.commit()
        for name in ("key", "open"):
            for action in (session.store.read, session.store.restore):
                with pytest.raises(StoreError):
                    action(name)
        for region, size in ((0, 4096), (1, 1 << 20)):
            for at in range(0, size, 60_000):
                count = min(60_000, size - at)
                body = b"".join(n.to_bytes(4, "little") for n in (region, at, count))
                requester.request(Command.READ, body)
    assert len(heard) > 20
    assert not any(KEY[:8] in body for body in heard)
    assert KEY in native_board.flash.read_bytes()


def test_a_certificate_needs_what_the_device_computed(stores: list[Store]) -> None:
    for store in stores:
        store.begin()
        store.put("made up", bytes(32))
        store.put("text", b"text")
        with pytest.raises(StoreError, match=r"no (such )?digest"):
            store.certify("made up", "text", TENSORS)
        with pytest.raises(StoreError, match=r"no (such )?digest|no entry"):
            store.certify("missing", "text", TENSORS)
