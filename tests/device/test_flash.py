"""Flashing through the GDB protocol: QEMU's own server, and servers that misbehave."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import handmade
import numpy as np
import pytest

from mcutrain.device.flash import flash, read_segments
from mcutrain.device.gdb import GdbClient, gdb_crc32
from mcutrain.device.session import Session
from mcutrain.device.transport import SerialTransport
from mcutrain.errors import BuildError, LinkError
from mcutrain.simulators.qemu import MACHINE, find

NUMBERS = np.arange(1024, dtype=np.float32).reshape(32, 32)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def board() -> Iterator[tuple[str, str]]:
    """An empty QEMU that waits for its program: addresses of its GDB server and its serial port."""
    gdb, serial = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(find(), *MACHINE, "-S", "-gdb", f"tcp:127.0.0.1:{gdb}"),
            *("-serial", f"tcp:127.0.0.1:{serial},server=on,wait=off"),
        ],
        stdin=subprocess.DEVNULL,
    )
    for port in (gdb, serial):
        wait_for_server(port)
    yield f"localhost:{gdb}", f"socket://localhost:{serial}"
    process.kill()
    process.wait()


def wait_for_server(port: int) -> None:
    """Until something listens: connecting would be taken for a debugger, so read the kernel's table."""
    for _ in range(500):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
                return
        threading.Event().wait(0.02)
    raise AssertionError(f"nothing listens on {port}")


@pytest.mark.qemu
def test_a_flashed_board_trains_over_its_serial_port(
    board: tuple[str, str], firmware: Callable[[str], Path]
) -> None:
    gdb, serial = board
    steps: list[tuple[int, int]] = []
    written = flash(firmware("qemu-uart"), gdb, lambda *step: steps.append(step))
    assert steps[-1] == (2 * written, 2 * written)
    with Session(SerialTransport(serial), handmade.manifest()) as session:
        outputs = session.run("step", {"x": NUMBERS}, ["y", "counts"])
    np.testing.assert_array_equal(outputs["y"], NUMBERS * 2 + 1)
    np.testing.assert_array_equal(outputs["counts"], np.ones(8, np.int32))


@pytest.mark.qemu
def test_a_running_board_is_flashed_again(
    board: tuple[str, str], firmware: Callable[[str], Path], tmp_path: Path
) -> None:
    gdb, serial = board
    flash(firmware("qemu-uart"), gdb)
    transport = SerialTransport(serial)
    session = Session(transport, handmade.manifest())
    session.run("step", {"x": NUMBERS})
    transport.close()
    other = handmade.build("qemu-uart", tmp_path / "other.elf", ("-DBUILD_BYTE=0xcd", "-DWORKERS=3"))
    flash(other, gdb)
    with pytest.raises(LinkError, match="runs build cd0000000000, not ab0000000000"):
        Session(SerialTransport(serial), handmade.manifest())
    with Session(SerialTransport(serial), handmade.manifest("cd" + "00" * 31, 3)) as session:
        outputs = session.run("step", {"x": NUMBERS}, ["y", "counts"])
        np.testing.assert_array_equal(outputs["y"], NUMBERS * 2 + 1)
        np.testing.assert_array_equal(outputs["counts"], [1, 1, 1, 0, 0, 0, 0, 0])


@pytest.mark.qemu
def test_memory_that_is_not_there(board: tuple[str, str], tmp_path: Path) -> None:
    """QEMU's debugger takes such writes without a word: comparing finds out."""
    elf = make_elf(tmp_path / "elsewhere.elf", 0x70000000)
    with pytest.raises(LinkError, match=r"0x70000000.*(does not hold|cannot read)"):
        flash(elf, board[0])
    with GdbClient(board[0]) as client:
        assert len(client.threads()) == 9
        client.write_memory(0x80000000, bytes(range(256)) * 40)
        assert client.read_memory(0x80000000, 10240) == bytes(range(256)) * 40


class Server:
    """A GDB server of our own over one connection: memory, acknowledgements, and faults on request."""

    def __init__(self, replies: dict[str, str], acknowledge: bool = True, binary: bool = True) -> None:
        self.memory: dict[int, int] = {}
        self.registers: list[str] = []
        self.replies = replies
        self.acknowledge = acknowledge
        self.binary = binary
        self.stuck_bit: int | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as stream:
            while byte := stream.read(1):
                if byte != b"$":
                    continue
                packet = b""
                while (byte := stream.read(1)) != b"#":
                    packet += byte
                assert stream.read(2) == f"{sum(packet) & 0xFF:02x}".encode()
                reply = self._reply(packet)
                if reply is None:
                    return
                wire = b"$" + reply + b"#" + f"{sum(reply) & 0xFF:02x}".encode()
                connection.sendall((b"+" if self.acknowledge else b"") + wire)
                if packet == b"QStartNoAckMode":
                    self.acknowledge = False

    def _reply(self, packet: bytes) -> bytes | None:
        text = packet.decode("latin-1")
        for start, reply in self.replies.items():
            if text.startswith(start):
                return None if reply == "hang up" else reply.encode()
        if text[0] == "X" and self.binary:
            head, _, data = packet.partition(b":")
            address, length = (int(n, 16) for n in head[1:].split(b","))
            out, rest = [], iter(data)
            for byte in rest:
                out.append(next(rest) ^ 0x20 if byte == ord("}") else byte)
            assert len(out) == length
            self._store(address, bytes(out))
            return b"OK"
        if text[0] == "M":
            head, _, data = packet.partition(b":")
            self._store(int(head[1:].split(b",")[0], 16), bytes.fromhex(data.decode()))
            return b"OK"
        if text[0] == "m":
            address, length = (int(n, 16) for n in text[1:].split(","))
            # run-length encoded where it pays, as servers may
            raw = bytes(self.memory.get(address + i, 0) for i in range(length)).hex()
            return raw.replace("0" * 8, "0*$").encode()
        if text.startswith("qCRC:"):
            address, length = (int(n, 16) for n in text[5:].split(","))
            return f"C{gdb_crc32(bytes(self.memory[address + i] for i in range(length))):x}".encode()
        if text[0] in "HPD":
            self.registers.append(text)
            return b"OK"
        return b""

    def _store(self, address: int, data: bytes) -> None:
        if self.stuck_bit is not None:
            data = bytes([data[0] ^ self.stuck_bit]) + data[1:]
        self.memory.update((address + i, byte) for i, byte in enumerate(data))


BASIC = {"qSupported": "PacketSize=200", "?": "S05", "qfThreadInfo": "m1,2", "qsThreadInfo": "l"}


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    return make_elf(tmp_path / "firmware.elf", 0x1000)


def make_elf(path: Path, address: int) -> Path:
    """An ELF of two segments full of the bytes that packets escape, and zeros."""
    first, second = b"#$*}" * 500 + bytes(2000), b"end"
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 243, 1, address, 52, 0, 0, 52, 32, 3, 0, 0, 0)
    table = struct.pack("<8I", 1, 148, 0, address, len(first), len(first), 5, 4)
    table += struct.pack("<8I", 1, 148 + len(first), 0, address + 0x8000, len(second), 64, 6, 4)
    table += struct.pack("<8I", 0x6474E551, 0, 0, 0, 0, 0, 6, 4)
    path.write_bytes(header + table + first + second)
    return path


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    "extra", [{}, {"qCRC": ""}, {"QStartNoAckMode": "OK", "qSupported": "QStartNoAckMode+"}]
)
def test_any_server_will_do(elf: Path, binary: bool, extra: dict[str, str]) -> None:
    server = Server({**BASIC, **extra}, binary=binary)
    assert flash(elf, server.address) == 4003
    server.close()
    assert bytes(server.memory[0x1000 + i] for i in range(4000)) == b"#$*}" * 500 + bytes(2000)
    assert bytes(server.memory[0x9000 + i] for i in range(3)) == b"end"
    assert server.registers == ["Hg1", "P20=00100000", "Hg2", "P20=00100000", "D"]


@pytest.mark.parametrize("extra", [{}, {"qCRC": ""}])
def test_memory_that_keeps_other_bytes(elf: Path, extra: dict[str, str]) -> None:
    server = Server({**BASIC, **extra})
    server.stuck_bit = 0x10
    with pytest.raises(LinkError, match="does not hold what was written"):
        flash(elf, server.address)
    server.close()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"X": "E01"}, "cannot write"),
        ({"M": "E01", "X": ""}, "cannot write"),
        ({"P": "E01"}, "refused 'P20="),
        ({"X": "hang up"}, "closed the connection while we were waiting for the"),
        ({"?": ""}, "holds no chip"),
    ],
)
def test_servers_that_refuse(elf: Path, extra: dict[str, str], message: str) -> None:
    server = Server({**BASIC, **extra})
    with pytest.raises(LinkError, match=message):
        flash(elf, server.address)
    server.close()


def test_no_server_or_a_silent_one(elf: Path) -> None:
    with pytest.raises(LinkError, match="no GDB server at localhost:1"):
        flash(elf, "localhost:1")
    for address in ("localhost", "localhost:x", "localhost:99999", ""):
        with pytest.raises(LinkError, match="is not host:port"):
            flash(elf, address)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(LinkError, match=r"no answer in 0\.2 s while waiting for the acknowledgement"),
    ):
        GdbClient(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.2)


def test_files_that_are_no_firmware(elf: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot read"):
        read_segments(tmp_path / "missing")
    other = tmp_path / "other"
    for contents, message in [
        (b"#!/bin/sh\n", "no 32-bit ELF"),
        (elf.read_bytes()[:40], "cut off"),
        (elf.read_bytes()[:500], "cut off"),
        (elf.read_bytes().replace(b"\xf3\x00", b"\x3e\x00", 1), "another processor"),
    ]:
        other.write_bytes(contents)
        with pytest.raises(BuildError, match=message):
            read_segments(other)


def test_crc_as_gdb_computes_it() -> None:
    """Check value of CRC-32/MPEG-2."""
    assert gdb_crc32(b"123456789") == 0x0376E6E7
