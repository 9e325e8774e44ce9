"""The persistent store: what it keeps, what it refuses, and that any bytes at all leave it whole."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import handmade
import numpy as np
import pytest

from mcutrain import simulators
from mcutrain.device.session import Session
from mcutrain.errors import SimulatorError, StoreError
from mcutrain.store import Kind
from mcutrain.targets import find_target

TARGETS = [
    "native",
    pytest.param("qemu", marks=pytest.mark.qemu),
    pytest.param("qemu-uart", marks=pytest.mark.qemu),
    pytest.param("qemu-xpulp", marks=pytest.mark.qemu),
    pytest.param("gvsoc", marks=pytest.mark.gvsoc),
]
TENSORS = ["head", "half"]


class Board:
    """One device: a firmware and its flash; each session is a start of it."""

    def __init__(self, name: str, firmware: Path, flash: Path) -> None:
        self.name, self.firmware, self.flash = name, firmware, flash

    @contextmanager
    def session(self) -> Iterator[Session]:
        transport = simulators.start(find_target(self.name), self.firmware, self.flash)
        with Session(transport, handmade.manifest(), silence=30) as session:
            yield session


@pytest.fixture(params=TARGETS)
def board(request: pytest.FixtureRequest, firmware: Callable[[str], Path], tmp_path: Path) -> Board:
    return Board(request.param, firmware(request.param), tmp_path / "flash.bin")


@pytest.fixture
def native_board(firmware: Callable[[str], Path], tmp_path: Path) -> Board:
    return Board("native", firmware("native"), tmp_path / "flash.bin")


def values(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "head": rng.integers(-9, 9, 4).astype(np.int32),
        "half": rng.normal(size=(3, 5)).astype(np.float16),
    }


def same(session: Session, wanted: dict[str, np.ndarray]) -> bool:
    got = session.read(list(wanted))
    return all(np.array_equal(got[name], array) for name, array in wanted.items())


def test_entries_survive_a_restart(board: Board) -> None:
    text = bytes(range(256)) * 40 + b"end"
    with board.session() as session:
        store = session.store
        assert store.facts().sequence == 0
        assert store.facts().size == board.flash.stat().st_size
        assert store.entries() == {}
        store.begin()
        store.put("text", text)
        store.put("nothing", b"")
        session.write(values(1))
        store.keep("state", TENSORS)
        store.link("state", "before/1")
        data = session.read(TENSORS)
        digest = hashlib.sha256(data["head"].tobytes() + data["half"].tobytes()).digest()
        assert store.digest("digest", TENSORS) == digest
        assert store.entries() == {}
        assert store.commit() == 1
        session.write(values(2))
        assert store.hash(TENSORS) != digest
        store.begin()
        store.keep("state", TENSORS)
        store.delete("nothing")
        assert store.commit() == 2
    with board.session() as session:
        store = session.store
        facts = store.facts()
        assert (facts.sequence, facts.entries, facts.restored, facts.foreign) == (2, 4, True, False)
        assert same(session, values(2))
        assert {n: e.kind for n, e in store.entries().items()} == {
            "text": Kind.BYTES,
            "state": Kind.STATE,
            "before/1": Kind.STATE,
            "digest": Kind.HASH,
        }
        assert store.read("text") == text
        assert store.read("digest") == digest
        store.restore("before/1")
        assert same(session, values(1))
        assert store.hash(TENSORS) == digest


def test_a_purge_leaves_nothing_older(board: Board) -> None:
    secret = b"an older state of the weights " * 20
    with board.session() as session:
        store = session.store
        for text in (secret, b"something else"):
            store.begin()
            store.put("text", text)
            store.commit()
        assert secret[:200] in board.flash.read_bytes()
        assert not store.facts().purged
        store.begin()
        store.put("text", b"the newest")
        store.commit(purge=True)
        assert store.facts().purged
    contents = board.flash.read_bytes()
    assert secret[:30] not in contents
    assert b"something else" not in contents
    assert contents.count(b"the newest") == 1
    with board.session() as session:
        assert session.store.facts().purged
        assert session.store.read("text") == b"the newest"


def test_a_transaction_that_is_not_committed_is_nothing(native_board: Board) -> None:
    with native_board.session() as session:
        store = session.store
        store.begin()
        store.put("kept", b"kept")
        store.commit()
        store.begin()
        store.put("kept", b"changed")
        store.put("more", b"more")
        assert store.read("kept") == b"kept"
        store.begin()
        store.put("third", b"third")
    with native_board.session() as session:
        assert list(session.store.entries()) == ["kept"]
        assert session.store.read("kept") == b"kept"


def test_refusals_name_the_reason(native_board: Board) -> None:
    with native_board.session() as session:
        store = session.store
        with pytest.raises(StoreError, match="no transaction is open"):
            store.put("a", b"")
        with pytest.raises(StoreError, match="no transaction is open"):
            store.commit()
        store.begin()
        store.put("a", b"text")
        with pytest.raises(StoreError, match="the store is full — give a smaller"):
            store.put("big", bytes(20 << 20))
        with pytest.raises(StoreError, match="there is no such entry"):
            store.delete("b")
        with pytest.raises(StoreError, match="there is no such entry"):
            store.link("b", "c")
        with pytest.raises(StoreError, match="no name for an entry"):
            store.put("n" * 24, b"")
        store.commit()
        with pytest.raises(StoreError, match="there is no entry 'b'"):
            store.read("b")
        with pytest.raises(StoreError, match="no copy of memory"):
            store.restore("a")
        store.begin()
        most = store.facts().most_entries
        for i in range(most - 1):
            store.put(f"entry {i}", b"")
        with pytest.raises(StoreError, match="the store is full"):
            store.put("one more", b"")
        store.begin()
        store.commit()
        assert list(store.entries()) == ["a"]


def test_without_flash_there_is_no_store(native: Session) -> None:
    assert native.store.facts().size == 0
    with pytest.raises(StoreError, match="has no flash — start the simulator with a state file"):
        native.store.begin()


def test_one_flash_serves_one_simulator(native_board: Board) -> None:
    with native_board.session(), pytest.raises(SimulatorError, match="another simulator uses"):
        native_board.session().__enter__()
    with native_board.session():
        pass


def test_another_build_finds_the_store_foreign(
    native_board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with native_board.session() as session:
        session.write(values(1))
        session.store.begin()
        session.store.keep("state", TENSORS)
        session.store.commit()
    other = handmade.build("native", tmp_path / "other", ("-DBUILD_BYTE=0xcd",))
    transport = simulators.start(find_target("native"), other, native_board.flash)
    with Session(transport, handmade.manifest("cd" + "00" * 31)) as session:
        facts = session.store.facts()
        assert (facts.foreign, facts.restored) == (True, False)
        assert not same(session, values(1))


def test_a_damaged_newest_slot_gives_way_to_the_older(native_board: Board) -> None:
    with native_board.session() as session:
        for seed in (1, 2):
            session.write(values(seed))
            session.store.begin()
            session.store.keep("state", TENSORS)
            session.store.commit()
    contents = bytearray(native_board.flash.read_bytes())
    state = values(2)["head"].tobytes() + values(2)["half"].tobytes()
    contents[contents.index(state)] ^= 1
    native_board.flash.write_bytes(contents)
    with native_board.session() as session:
        assert session.store.facts().sequence == 1
        assert same(session, values(1))


def test_a_store_whose_only_slot_is_damaged_keeps_the_rest(native_board: Board) -> None:
    with native_board.session() as session:
        session.store.set_key(bytes(range(32)))
        session.write(values(1))
        session.store.begin()
        session.store.keep("state", TENSORS)
        session.store.put("text", b"what is damaged" * 9)
        session.store.commit(purge=True)
    contents = bytearray(native_board.flash.read_bytes())
    contents[contents.index(b"what is damaged")] ^= 1
    native_board.flash.write_bytes(contents)
    with native_board.session() as session:
        assert set(session.store.entries()) == {"key", "state"}
        assert session.store.facts().keyed
        assert same(session, values(1))
        session.store.begin()
        session.store.put("text", b"new")
        session.store.commit()
    with native_board.session() as session:
        assert session.store.read("text") == b"new"


#: What the store holds before and after the transaction whose power is cut.
BEFORE, AFTER = {"a": b"old" * 200, "b": b"kept"}, {"a": b"new" * 300, "c": b"more"}


def change(session: Session) -> None:
    store = session.store
    session.write(values(2))
    store.begin()
    store.put("a", AFTER["a"])
    store.put("c", AFTER["c"])
    if "b" in store.entries():
        store.delete("b")
    store.keep("state", TENSORS)
    store.commit(purge=True)


def power_is_cut(board: Board) -> bool:
    """Whether the transaction is cut off."""
    try:
        with board.session() as session:
            change(session)
    except SimulatorError as error:
        return "its power was cut" in error.reason
    return False


@pytest.mark.parametrize("history", [1, 4])
def test_power_lost_at_any_operation(
    native_board: Board, monkeypatch: pytest.MonkeyPatch, history: int
) -> None:
    """The n-th page or erasure is done by half, for every n: all is as before, or all as after."""
    with native_board.session() as session:
        for _ in range(history):
            session.write(values(1))
            session.store.begin()
            for name, data in BEFORE.items():
                session.store.put(name, data)
            session.store.keep("state", TENSORS)
            session.store.commit()
    contents = native_board.flash.read_bytes()
    outcomes = []
    for n in range(1, 1000):
        native_board.flash.write_bytes(contents)
        monkeypatch.setenv("MCUTRAIN_FLASH_FAILS", str(n))
        lost = power_is_cut(native_board)
        monkeypatch.delenv("MCUTRAIN_FLASH_FAILS")
        with native_board.session() as session:
            store = session.store
            found = {n: store.read(n) for n, e in store.entries().items() if e.kind == Kind.BYTES}
            assert found in (BEFORE, AFTER)
            assert same(session, values(2 if found == AFTER else 1))
            assert store.facts().purged == (found == AFTER)
            outcomes.append(found == AFTER)
            change(session)
            assert store.read("a") == AFTER["a"]
        if not lost:
            break
    assert outcomes[0] is False
    assert outcomes[-2:] == [True, True]
    assert outcomes == sorted(outcomes)
    assert len(outcomes) > 10


@pytest.mark.parametrize("seed", range(3))
def test_a_store_behaves_as_a_dictionary(native_board: Board, seed: int) -> None:
    chance = random.Random(seed)
    kept: dict[str, bytes] = {}
    for _ in range(6):
        with native_board.session() as session:
            store = session.store
            for _ in range(5):
                staged = dict(kept)
                store.begin()
                for _ in range(chance.randrange(6)):
                    name = chance.choice("abcdefg")
                    action = chance.randrange(3)
                    if action == 0 and name in staged:
                        store.delete(name)
                        del staged[name]
                    elif action == 1 and name in staged:
                        other = chance.choice("abcdefg")
                        store.link(name, other)
                        staged[other] = staged[name]
                    else:
                        staged[name] = chance.randbytes(chance.choice((0, 1, 255, 256, 257, 4096, 9000)))
                        store.put(name, staged[name])
                if chance.random() < 0.7:
                    store.commit(purge=chance.random() < 0.3)
                    kept = staged
                assert {name: store.read(name) for name in store.entries()} == kept
