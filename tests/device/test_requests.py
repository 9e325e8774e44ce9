"""Links that lose, damage and repeat bytes; devices that are silent, busy, half fed or reset."""

from __future__ import annotations

import enum
import os
import random
import socket
import time
import tty
from collections.abc import Callable, Iterator

import handmade
import numpy as np
import pytest
from handmade import UnreliableTransport

from mcutrain.device.framing import RESPONSE, Command, Decoder, Frame, encode
from mcutrain.device.requests import Requester
from mcutrain.device.session import Session
from mcutrain.device.transport import DescriptorTransport, Transport
from mcutrain.errors import DeviceError, LinkError

NUMBERS = np.arange(1024, dtype=np.float32).reshape(32, 32)


def once(change: Callable[[bytes], bytes], longer_than: int = 200) -> Callable[[bytes], bytes]:
    """Apply a change to the first long piece of data only."""
    done = False

    def apply(data: bytes) -> bytes:
        nonlocal done
        if done or len(data) <= longer_than:
            return data
        done = True
        return change(data)

    return apply


def lose(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + data[at + 1 :]


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


CHANGES = {
    "lost delimiter": lose(0),
    "lost header byte": lose(5),
    "lost body byte": lose(150),
    "flipped header byte": flip(5),
    "flipped body byte": flip(150),
    "zero in body": lambda data: data[:150] + b"\0" + data[151:],
    "everything lost": lambda data: b"",
    "half lost": lambda data: data[: len(data) // 2],
    "sent twice": lambda data: data + data,
    "noise before": lambda data: b"\x07\xff" * 30 + data,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("direction", ["outgoing", "incoming"])
@pytest.mark.parametrize("name", ["native", pytest.param("qemu", marks=pytest.mark.qemu)])
def test_damage_is_repaired_and_nothing_runs_twice(
    link: Callable[[str], Transport], name: str, direction: str, change: Callable[[bytes], bytes]
) -> None:
    unreliable = UnreliableTransport(link(name))
    with Session(unreliable, handmade.manifest()) as session:
        session._requests.retry = 0.2
        session.write({"counts": np.zeros(8, np.int32)})
        setattr(unreliable, direction, once(change))
        outputs = session.run("step", {"x": NUMBERS}, ["y", "counts"])
        np.testing.assert_array_equal(outputs["y"], NUMBERS * 2 + 1)
        np.testing.assert_array_equal(outputs["counts"], np.ones(8, np.int32))
        np.testing.assert_array_equal(session.read(["counts"])["counts"], np.ones(8, np.int32))


@pytest.mark.parametrize("name", ["native", pytest.param("qemu-uart", marks=pytest.mark.qemu)])
def test_a_noisy_link_both_ways(link: Callable[[str], Transport], name: str) -> None:
    """One byte in some thousands is hit, however few of them a busy machine delivers at a time."""
    chance = random.Random(5)

    def noise(data: bytes) -> bytes:
        if not data or chance.random() < (1 - 1 / 6000) ** len(data):
            return data
        at = chance.randrange(len(data))
        return chance.choice([lose(at), flip(at), lambda d: d[:at] + b"\xee" + d[at:]])(data)

    unreliable = UnreliableTransport(link(name))
    with Session(unreliable, handmade.manifest()) as session:
        session._requests.retry = 0.1
        session.write({"counts": np.zeros(8, np.int32)})
        unreliable.outgoing = unreliable.incoming = noise
        for n in range(1, 21):
            outputs = session.run("step", {"x": NUMBERS + n}, ["y", "counts"])
            np.testing.assert_array_equal(outputs["y"], (NUMBERS + n) * 2 + 1)
            assert outputs["counts"][3] == n
        assert session.repeated > 0
        unreliable.outgoing = unreliable.incoming = lambda data: data


@pytest.mark.parametrize("name", ["native", pytest.param("qemu", marks=pytest.mark.qemu)])
@pytest.mark.parametrize("cut", [1, 10, 22, 23, 500, -1])
def test_a_driver_that_died_in_mid_frame_is_no_harm(
    link: Callable[[str], Transport], name: str, cut: int
) -> None:
    transport = link(name)
    Requester(transport).hello()
    longest = encode(Frame(Command.WRITE, 7, bytes(range(1, 251)) * 60))
    transport.write(longest[:cut], 5)
    with Session(transport, handmade.manifest()) as session:
        np.testing.assert_array_equal(session.run("step", {"x": NUMBERS}, ["y"])["y"], NUMBERS * 2 + 1)


class Device:
    """A device of our own at the other end of a socket; each test says what it answers."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        self.transport = DescriptorTransport(ours.detach(), "the device")
        self.decoder = Decoder()

    def answer(self, reply: Callable[[Frame], list[Frame]]) -> UnreliableTransport:
        """A transport to a device that answers each request with ``reply(request)``."""

        def outgoing(data: bytes) -> bytes:
            for request in self.decoder.feed(data):
                for frame in reply(request):
                    self.socket.sendall(encode(frame))
            return b""

        return UnreliableTransport(self.transport, outgoing=outgoing)


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.socket.close()
    device.transport.close()


def good(request: Frame) -> list[Frame]:
    return [Frame(request.command | RESPONSE, request.sequence, b"fine")]


def test_a_silent_device_is_given_up_in_time(device: Device) -> None:
    requester = Requester(device.answer(lambda request: []), silence=0.5, retry=0.1)
    start = time.monotonic()
    with pytest.raises(
        LinkError, match=r"no answer from the device in 0\.5 s while waiting for the response to HELLO"
    ):
        requester.hello()
    assert time.monotonic() - start < 2


def test_a_device_that_falls_silent_is_given_up_in_time(device: Device) -> None:
    requester = Requester(
        device.answer(lambda request: good(request) if request.command == Command.HELLO else []),
        silence=0.5,
        retry=0.1,
    )
    requester.hello()
    with pytest.raises(LinkError, match=r"the response to RUN \(3 bytes sent\)"):
        requester.request(Command.RUN, b"abc")
    assert requester.repeated >= 3


def test_a_line_that_always_damages_is_given_up_in_time(device: Device) -> None:
    def reply(request: Frame) -> list[Frame]:
        return good(request) if request.command == Command.HELLO else [Frame(Command.DAMAGED, 0)]

    requester = Requester(device.answer(reply), silence=0.3, retry=0.1)
    requester.hello()
    with pytest.raises(LinkError, match="while waiting"):
        requester.request(Command.READ)


def test_a_busy_device_is_waited_for(device: Device) -> None:
    requester = Requester(device.answer(good), silence=0.3, retry=0.2)
    requester.hello()
    seen: list[tuple[int, int]] = []
    notes = iter(range(5))

    def busy(data: bytes) -> bytes:
        # Five times busy, 0.2 s apart, then the response: longer than the silence limit.
        note = next(notes, None)
        if note is None:
            return data
        held.append(data)
        time.sleep(0.2)
        return encode(Frame(Command.BUSY, 0, (note).to_bytes(4, "little") + (9).to_bytes(4, "little"))) + (
            b"".join(held) if note == 4 else b""
        )

    held: list[bytes] = []
    requester.transport.incoming = busy  # type: ignore[attr-defined]
    requester.busy = lambda done, total: seen.append((done, total))
    assert requester.request(Command.RUN) == b"fine"
    assert seen == [(n, 9) for n in range(5)]


def test_stale_responses_are_ignored(device: Device) -> None:
    def reply(request: Frame) -> list[Frame]:
        return [
            Frame(request.command | RESPONSE, request.sequence - 1, b"old"),
            Frame(Command.READ | RESPONSE, request.sequence, b"of another command")
            if request.command != Command.READ
            else Frame(Command.HELLO | RESPONSE, request.sequence, b"of another command"),
            *good(request),
        ]

    requester = Requester(device.answer(reply))
    assert requester.hello() == b"fine"
    assert requester.request(Command.READ) == b"fine"


def test_another_protocol_version_is_named(device: Device) -> None:
    def reply(request: Frame) -> list[Frame]:
        return [Frame(request.command | RESPONSE, request.sequence, b"no", status=1, version=9)]

    with pytest.raises(LinkError, match="speaks version 9 of the protocol, this mcutrain 1"):
        Requester(device.answer(reply)).hello()


def test_a_closed_link_is_an_error_not_a_wait(device: Device) -> None:
    device.socket.close()
    with pytest.raises(LinkError, match="closed the link"):
        Requester(device.transport).hello()


def test_a_device_that_takes_no_bytes_is_given_up_in_time() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    transport = DescriptorTransport(master, "the board")
    start = time.monotonic()
    with pytest.raises(LinkError, match=r"took \d+ of 1000000 bytes"):
        transport.write(b"\1" * 1_000_000, 0.3)
    assert time.monotonic() - start < 2
    transport.close()
    os.close(slave)


class Unknown(enum.IntEnum):
    NINE = 9


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


@pytest.mark.parametrize(
    ("command", "body", "message"),
    [
        (Unknown.NINE, b"", "no such command"),
        (Command.HELLO, b"abc", "HELLO is cut off"),
        (Command.READ, words(0, 0, 4)[:-1], "a read is cut off"),
        (Command.READ, words(0, 4096, 1), "a read is outside its region"),
        (Command.READ, words(0, 0xFFFFFFFF, 2), "a read is outside its region"),
        (Command.READ, words(1, 1, 1 << 20), "a read is outside its region"),
        (Command.READ, words(2, 0, 1), "a read is outside its region"),
        (Command.READ, words(1, 0, 60_000) * 2, "longer than a frame's body"),
        (Command.WRITE, b"\1", "WRITE is cut off"),
        (Command.WRITE, words(1, 0, 0), "a write is longer than its frame"),
        (Command.WRITE, words(1, 0, 0, 8) + b"1234567", "a write is longer than its frame"),
        (Command.WRITE, words(1, 0, 0, 0xFFFFFFF8) + b"12345678", "a write is longer than its frame"),
        (Command.WRITE, words(2, 0, 0, 1) + b"1", "a write is longer than its frame"),
        (Command.WRITE, words(1, 0, 4092, 8) + b"12345678", "a write is outside its region"),
        (Command.RUN, words(0, 0, 0), "RUN is cut off"),
        (Command.RUN, words(2, 0, 0, 0), "no such Program"),
        (Command.RUN, words(0, 0, 3, 0), "no such kernel calls"),
        (Command.RUN, words(0, 2, 1, 0), "no such kernel calls"),
        (Command.RUN, words(0, 0, 2, 1, 1, 0, 4), "a write is longer than its frame"),
        (Command.RUN, words(0, 0, 2, 1, 1, 0, 4, 7, 1, 0), "a read is cut off"),
        (Command.RUN, words(0, 0, 2, 1, 1, 0, 4, 7, 1, 1 << 20, 1), "a read is outside its region"),
    ],
)
def test_malformed_requests_are_refused_whole(
    native: Session, command: Command, body: bytes, message: str
) -> None:
    """By name, and without doing part of them."""
    native.write({"counts": np.full(8, 5, np.int32)})
    head = native.read(["head"])["head"]
    with pytest.raises(DeviceError, match=message):
        native._requests.request(command, body)
    np.testing.assert_array_equal(native.read(["counts"])["counts"], np.full(8, 5, np.int32))
    np.testing.assert_array_equal(native.read(["head"])["head"], head)


def test_the_real_device_refuses_another_version(link: Callable[[str], Transport]) -> None:
    transport = link("native")
    transport.write(encode(Frame(Command.HELLO, 5, bytes(4), version=2)), 1)
    decoder, frames = Decoder(), []
    while not frames:
        frames = decoder.feed(transport.read(5))
    assert (frames[0].status, frames[0].version) == (1, 1)


def test_a_board_that_was_reset_is_noticed(link: Callable[[str], Transport]) -> None:
    """After a reset the trained state is gone: going on would train something else without a word."""
    unreliable = UnreliableTransport(link("native"))
    session = Session(unreliable, handmade.manifest())
    unreliable.inner.close()
    unreliable.inner = link("native")
    with pytest.raises(LinkError, match="was reset"):
        session.run("step")
    session._requests._in_step = False
    with pytest.raises(LinkError, match="was reset"):
        session.run("step")
    session.close()
