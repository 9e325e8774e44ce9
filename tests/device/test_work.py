"""The device's count of its own work: what is counted under what, and that nothing else is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import handmade
import numpy as np
import pytest

from mcutrain import simulators
from mcutrain.device.framing import Command
from mcutrain.device.session import Session
from mcutrain.device.transport import Transport
from mcutrain.device.work import read_work
from mcutrain.errors import DeviceError, LinkError
from mcutrain.meter import Meter, MeteredStore
from mcutrain.targets import find_target
from mcutrain.work import Tally, Work


@pytest.fixture
def flashed(firmware: Callable[[str], Path], tmp_path: Path) -> Iterator[Session]:
    transport = simulators.start(find_target("native"), firmware("native"), tmp_path / "flash.bin")
    with Session(transport, handmade.manifest()) as session:
        yield session


def work(session: Session) -> Work:
    found = session.work()
    assert found is not None
    return found


def test_runs_are_counted_by_program(session: Session) -> None:
    before = work(session)
    for _ in range(3):
        session.run("step", {"x": np.ones((32, 32), np.float32)}, ["y"])
    session.run("slow", calls=(0, 20))
    session.write({"x": np.zeros((32, 32), np.float32)})
    session.read(["x"])
    done = work(session).since(before)
    assert {name: tally.count for name, tally in done.programs.items()} == {"step": 3, "slow": 1}
    # a write and a read, which may take several frames; to ask for the count is not counted
    assert done.memory.count >= 2
    again = work(session)
    assert again.since(work(session)).total == 0
    assert done.store.count == 0
    parts = [done.memory, done.store, *done.programs.values()]
    assert done.total == sum(tally.time for tally in parts)
    assert 0 < done.programs["step"].time < done.programs["slow"].time


def test_a_request_that_is_repeated_is_counted_once(link: Callable[[str], Transport]) -> None:
    calls = []

    def twice(data: bytes) -> bytes:
        calls.append(data)
        return data + data

    wire = handmade.UnreliableTransport(link("native"), outgoing=twice)
    with Session(wire, handmade.manifest()) as session:
        before = work(session)
        session.run("step", {"x": np.ones((32, 32), np.float32)}, ["y"])
        assert work(session).since(before).programs["step"].count == 1


def test_flash_is_counted(flashed: Session) -> None:
    store, block = flashed.store, flashed.store.facts().block
    for round_ in range(3):
        store.begin()
        store.put("a", bytes([round_]) * (2 * block))
        store.commit()
    before = work(flashed)
    assert before.written.count >= 3 * 2 * block // 256
    assert before.flash_bytes == 256 * before.written.count
    assert before.erased.count > 0
    store.begin()
    store.delete("a")
    store.commit(purge=True)
    done = work(flashed).since(before)
    facts = store.facts()
    slots = 2 * (facts.size - facts.free) // facts.block
    # every block that is not in use, and both slots, was made sure to be blank
    assert facts.free // facts.block <= done.blank.count + done.erased.count <= facts.free // block + slots
    assert done.erased.count >= 2
    assert done.store.time >= done.blank.time + done.erased.time + done.written.time


def test_a_meter_remembers_what_its_store_took(flashed: Session) -> None:
    meter = Meter(flashed)
    store = MeteredStore(flashed.store, meter)
    store.begin()
    store.keep("kept", ["big"])
    store.put("few", b"abc")
    store.commit()
    assert meter.span("keep").ticks > meter.span("put").ticks > 0
    assert meter.span("purge").ticks == 0
    assert meter.span("purge", "commit") == meter.span("commit")
    assert meter.block("blank") > 0
    other = Meter(flashed)
    other.decode(meter.encode())
    assert other.span("keep").ticks == pytest.approx(meter.span("keep").ticks, abs=0.1)
    # of another clock, or damaged: it is as if nothing were known
    for data in (meter.encode().replace(b'"rate": 1000000', b'"rate": 0'), b"{", b"[]", b'{"rate": 1000000}'):
        fresh = Meter(flashed)
        fresh.decode(data)
        assert fresh.span("keep").ticks == 0


class Answering:
    """A requester with one answer."""

    def __init__(self, answer: bytes | DeviceError) -> None:
        self.answer = answer

    def request(self, command: Command, body: bytes = b"") -> bytes:
        assert command == Command.WORK
        if isinstance(self.answer, DeviceError):
            raise self.answer
        return self.answer


def test_answers_of_other_firmware() -> None:
    manifest = handmade.manifest()
    head = struct.pack("<3I", 1, 5, 2)
    tallies = b"".join(struct.pack("<IQ", i, 10 * i + (1 << 40)) for i in range(7))
    found = read_work(Answering(head + tallies), manifest)  # type: ignore[arg-type]
    assert found is not None
    assert (found.rate, found.written) == (5, Tally(4, 40 + (1 << 40)))
    assert found.programs == {"step": Tally(5, 50 + (1 << 40)), "slow": Tally(6, 60 + (1 << 40))}
    refused = DeviceError("refused WORK: there is no such command", "")
    assert read_work(Answering(refused), manifest) is None  # type: ignore[arg-type]
    for answer in (b"", head, head + tallies[:-1], struct.pack("<3I", 2, 5, 2) + tallies):
        with pytest.raises(LinkError, match="count of its work"):
            read_work(Answering(answer), manifest)  # type: ignore[arg-type]
