"""Loading a firmware into a board through a GDB server: reset, load, verify, start."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcutrain.device.gdb import GdbClient, gdb_crc32
from mcutrain.errors import BuildError, LinkError

_PT_LOAD = 1
_EM_RISCV = 243
#: Number of the program counter in GDB's description of RISC-V.
_PC = 32
_CHUNK = 1 << 15
#: How servers reset the chip and keep it halted: OpenOCD and J-Link, QEMU.
_RESETS = ("reset halt", "system_reset")

#: Called with bytes done and in all; loading and verifying each count every byte.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Segment:
    """Bytes to load at an address."""

    address: int
    data: bytes


def flash(firmware: Path, server: str, progress: Progress | None = None) -> int:
    """Load a firmware through a GDB server, compare it, and start it on all cores.

    Args:
        firmware: an ELF file for a 32-bit RISC-V.
        server: ``host:port`` of OpenOCD, J-Link, QEMU's ``-gdb`` or another server.
        progress: called as loading and verifying go on.

    Returns:
        bytes loaded.

    Raises:
        BuildError: the file is no such ELF.
        LinkError: no server, it refuses something, or memory holds other bytes than were written.
    """
    entry, segments = read_segments(firmware)
    total = sum(len(segment.data) for segment in segments)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, 2 * total)

    with GdbClient(server) as client:
        _reset(client)
        for segment in segments:
            for start in range(0, len(segment.data), _CHUNK):
                piece = segment.data[start : start + _CHUNK]
                client.write_memory(segment.address + start, piece)
                advance(len(piece))
        for segment in segments:
            for start in range(0, len(segment.data), _CHUNK):
                piece = segment.data[start : start + _CHUNK]
                _verify(client, segment.address + start, piece)
                advance(len(piece))
        for thread in client.threads():
            client.set_register(thread, _PC, entry)
        client.detach()
    return total


def read_segments(firmware: Path) -> tuple[int, list[Segment]]:
    """Entry address and loadable segments of an ELF file; raises BuildError when it is none for RISC-V."""
    try:
        contents = firmware.read_bytes()
    except OSError as error:
        raise BuildError(f"cannot read {firmware}: {error.strerror}", "compile the model first") from None
    if contents[:6] != b"\x7fELF\x01\x01":
        raise BuildError(
            f"{firmware} is no 32-bit ELF file", "compile for a board: a simulator needs no flash"
        )
    try:
        machine, _, entry, table = struct.unpack_from("<HIII", contents, 18)
        size, count = struct.unpack_from("<HH", contents, 42)
        segments = [_segment(contents, table + number * size) for number in range(count)]
    except (struct.error, IndexError):
        raise BuildError(f"{firmware} is cut off", "compile the model again") from None
    if machine != _EM_RISCV:
        raise BuildError(f"{firmware} is for another processor than RISC-V", "compile for a board")
    return entry, [segment for segment in segments if segment is not None and segment.data]


def _segment(contents: bytes, at: int) -> Segment | None:
    kind, offset, _, address, size = struct.unpack_from("<5I", contents, at)
    if kind != _PT_LOAD:
        return None
    if offset + size > len(contents):
        raise IndexError
    return Segment(address, contents[offset : offset + size])


def _reset(client: GdbClient) -> None:
    """Reset and halt the chip if the server knows how; a halted chip can be loaded all the same."""
    for command in _RESETS:
        output = client.monitor(command)
        if output is not None and "unknown command" not in output and "invalid command" not in output:
            return


def _verify(client: GdbClient, address: int, expected: bytes) -> None:
    found = client.checksum(address, len(expected))
    if found is None:
        same = client.read_memory(address, len(expected)) == expected
    else:
        same = found == gdb_crc32(expected)
    if not same:
        raise LinkError(
            f"memory at {address:#x} (+{len(expected)} bytes) does not hold what was written",
            "check the board's power and the probe's cable; then flash again",
        )
