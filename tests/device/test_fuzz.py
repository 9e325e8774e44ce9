"""Any bytes at all for the firmware: it survives, without a sanitizer's complaint, and then answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import pytest

from mcutrain.device.framing import Command, Frame, encode
from mcutrain.device.requests import Requester
from mcutrain.device.session import Session
from mcutrain.device.transport import Transport
from mcutrain.simulators import native

NUMBERS = np.arange(1024, dtype=np.float32).reshape(32, 32)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = handmade.sanitizing_compiler()
    if not compiler:
        pytest.skip("no gcc or clang: zig cc has no address sanitizer")
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return handmade.build("native", tmp_path_factory.mktemp("sanitized") / "firmware", flags, compiler)


def answers(transport: Transport) -> None:
    """The device greets, computes and says goodbye as if nothing had been."""
    session = Session(transport, handmade.manifest())
    session.write({"counts": np.zeros(8, np.int32)})
    outputs = session.run("step", {"x": NUMBERS}, ["y", "counts"])
    np.testing.assert_array_equal(outputs["y"], NUMBERS * 2 + 1)
    np.testing.assert_array_equal(outputs["counts"], np.ones(8, np.int32))
    session.close()


def numbers(chance: random.Random, count: int) -> bytes:
    """32-bit numbers that are often small, on a limit or huge."""
    choices = (
        0,
        1,
        2,
        8,
        4095,
        4096,
        4097,
        1 << 20,
        (1 << 20) + 1,
        0x7FFFFFFF,
        0x80000000,
        0xFFFFFFF0,
        0xFFFFFFFF,
    )
    return b"".join(chance.choice(choices).to_bytes(4, "little") for _ in range(count))


def ranges(chance: random.Random, with_data: bool) -> bytes:
    """Reads or writes about the ends of regions; sometimes cut off."""
    body = b""
    for _ in range(chance.randrange(1, 4)):
        region = chance.choice((0, 0, 1, 1, 2))
        size = (4096, 1 << 20, 64)[region]
        offset = max(0, size + chance.randrange(-40, 20))
        length = chance.choice((0, 1, chance.randrange(64), size - offset & 0xFF, 0xFFFFFFFF - offset))
        body += b"".join(number.to_bytes(4, "little") for number in (region, offset, length))
        if with_data:
            body += chance.randbytes(chance.choice((length % 100, length % 100, 3)))
    return body[: len(body) - chance.choice((0, 0, 0, 1, 7))]


def command(chance: random.Random) -> tuple[int, bytes]:
    """A request that is almost right."""
    kind = chance.choice(
        (Command.READ, Command.WRITE, Command.RUN, Command.RUN, Command.PROFILE, Command.READ_PROFILE)
    )
    if kind == Command.PROFILE:
        return kind, chance.choice((0, 1, 1, 1, 2, 3, 1 << 31)).to_bytes(4, "little")
    if kind == Command.READ_PROFILE:
        first, count = chance.choice(((0, 1), (1, 1), (0, 0), (5, 1), (0, 1 << 30), (1 << 31, 1 << 31)))
        return kind, first.to_bytes(4, "little") + count.to_bytes(4, "little")
    if kind == Command.READ:
        return kind, ranges(chance, False)
    count = chance.randrange(4).to_bytes(4, "little")
    if kind == Command.WRITE:
        return kind, count + ranges(chance, True)
    calls = b"".join(chance.randrange(3).to_bytes(4, "little") for _ in range(3))
    return kind, calls + count + ranges(chance, True) + ranges(chance, False)


def store_command(chance: random.Random) -> tuple[int, bytes]:
    """A request to the store that is almost right."""
    kind = chance.choice([*range(Command.STORE_STATUS, Command.CERTIFY + 2), Command.STORE_BEGIN])
    if kind == Command.KEY_SET:
        return kind, chance.randbytes(chance.choice((31, 32, 33)))
    body = b""
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        name = chance.choice((b"a", b"b", b"state", b"key", b"chain", b"digest", b"", b"x" * 24, b"a\0b"))
        body += name.ljust(24, b"\0")
    for _ in range(chance.randrange(3)):
        body += chance.choice((0, 1, 3, 60, 5000, 1 << 24, 0xFFFFFFFF)).to_bytes(4, "little")
    tail = chance.randrange(3)
    if tail == 1:
        body += chance.randbytes(chance.randrange(300))
    if tail == 2:
        body += ranges(chance, False)
    return kind, body


def piece(chance: random.Random) -> bytes:
    """Noise, or a frame: good, with a nonsensical body, or damaged."""
    if chance.random() < 0.6:
        kind, body = command(chance) if chance.random() < 0.5 else store_command(chance)
        return encode(Frame(kind, chance.randrange(1 << 32), body))
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(chance.randrange(400))
    if kind == 1:
        return bytes(chance.randrange(400))
    body = numbers(chance, chance.randrange(12)) + chance.randbytes(chance.randrange(60))
    number = chance.choice([*range(7), 0x18, 0x19, 0x7E, 0x7F, 0x80, 0xFF])
    if number == Command.BYE:  # it would end, as it should
        number = Command.RUN
    wire = bytearray(
        encode(Frame(number, chance.randrange(1 << 32), body, version=chance.choice([0, 1, 1, 1])))
    )
    if kind == 2:
        for _ in range(chance.randrange(1, 4)):
            wire[chance.randrange(len(wire))] = chance.randrange(256)
    if kind == 3:
        del wire[chance.randrange(len(wire)) :]
    return bytes(wire)


@pytest.mark.parametrize("seed", range(12))
def test_firmware_with_sanitizers(sanitized: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * (1 << 20))
    transport = native.start(sanitized, flash if seed else None)
    Requester(transport).hello()
    for _ in range(400):
        transport.write(piece(chance), 5)
        transport.read(0)
    answers(transport)
    assert transport.process.log() == ""


@pytest.mark.parametrize(
    "name", [pytest.param("qemu", marks=pytest.mark.qemu), pytest.param("qemu-uart", marks=pytest.mark.qemu)]
)
def test_firmware_on_qemu(link: Callable[[str], Transport], name: str) -> None:
    chance = random.Random(99)
    transport = link(name)
    for _ in range(100):
        transport.write(piece(chance), 5)
        transport.read(0)
    answers(transport)


@pytest.mark.parametrize("seed", range(6))
def test_a_flash_of_any_bytes(sanitized: Path, tmp_path: Path, seed: int) -> None:
    """A store that is damaged anywhere starts: with what is whole in it, or empty."""
    chance = random.Random(seed)
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * (1 << 17))
    with Session(native.start(sanitized, flash), handmade.manifest()) as session:
        for text in (b"one" * 900, b"two" * 3000):
            session.store.begin()
            session.store.put("text", text)
            session.store.keep("state", ["head", "half"])
            session.store.commit()
    whole = flash.read_bytes()
    for _ in range(25):
        contents = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            slot = 8192 * chance.randrange(2)
            at = chance.choice((slot + chance.randrange(600), chance.randrange(1 << 15)))
            contents[at] = chance.choice((0, 0xFF, chance.randrange(256)))
        flash.write_bytes(contents)
        with Session(native.start(sanitized, flash), handmade.manifest()) as session:
            if "text" in session.store.entries():
                assert session.store.read("text") in (b"one" * 900, b"two" * 3000)
            session.store.begin()
            session.store.put("text", b"three")
            session.store.commit()
            assert session.store.read("text") == b"three"


def test_whole_sessions_with_sanitizers(sanitized: Path) -> None:
    transport = native.start(sanitized)
    with Session(transport, handmade.manifest()) as session:
        big = np.arange(50_000, dtype=np.float32)
        session.write({"big": big, "half": np.ones((3, 5), np.float16)})
        np.testing.assert_array_equal(session.read(["big"])["big"], big)
        for _ in range(3):
            session.run("slow")
    answers(native.start(sanitized))
