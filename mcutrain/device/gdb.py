"""A client of the GDB remote serial protocol, as far as loading a firmware needs it.

Source: "Debugging with GDB", appendix E, Remote Serial Protocol.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from types import TracebackType

from mcutrain.errors import LinkError

#: Bytes of memory in a packet when the server does not say how long a packet may be.
_DEFAULT_PACKET = 400
#: Our own upper limit: longer packets save nothing.
_LONGEST_PACKET = 16384
_RETRIES = 3


class GdbClient:
    """A connection to a GDB server; it halts the chip as long as it lasts.

    Args:
        server: ``host:port``.
        timeout: seconds any answer may take.

    Raises:
        LinkError: from every method: no server, no answer, or an answer that says no.
    """

    def __init__(self, server: str, timeout: float = 10.0) -> None:
        self.server = server
        self._timeout = timeout
        self._received = bytearray()
        self._acknowledge = True
        self._binary = True
        host, _, port = server.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise LinkError(f"'{server}' is not host:port", "for instance localhost:3333")
        try:
            self._socket = socket.create_connection((host.strip("[]") or "localhost", int(port)), timeout)
        except OSError as error:
            raise LinkError(
                f"no GDB server at {server}: {error}", "start OpenOCD, J-Link's GDB server or QEMU with -gdb"
            ) from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            features = self.query("qSupported:hwbreak+")
            if "QStartNoAckMode+" in features:
                self.command("QStartNoAckMode")
                self._acknowledge = False
            if "qXfer:features:read+" in features:
                # QEMU lets single registers be written only by a client that has asked for their description.
                self.query("qXfer:features:read:target.xml:0,ff0")
            size = re.search(r"PacketSize=([0-9a-fA-F]+)", features)
            self._packet = min(int(size[1], 16) if size else _DEFAULT_PACKET, _LONGEST_PACKET)
            if not self.query("?"):
                raise LinkError(f"the GDB server at {server} holds no chip", "attach it to the chip first")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> GdbClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # ---- what a loader does -----------------------------------------------------------------------------

    def monitor(self, command: str) -> str | None:
        """Give the server a command of its own; its output, or None when it knows no such command."""
        self._send(b"qRcmd," + command.encode().hex().encode())
        output = ""
        while True:
            reply = self._reply(f"monitor {command}")
            if reply.startswith("O") and reply != "OK":
                output += bytes.fromhex(reply[1:]).decode("utf-8", "replace")
            elif reply == "" or reply.startswith("E"):
                return None
            else:
                return output if reply == "OK" else output + bytes.fromhex(reply).decode("utf-8", "replace")

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory, as binary where the server can, else as hexadecimal."""
        start = 0
        while start < len(data):
            if self._binary:
                piece = data[start : start + (self._packet - 32) // 2]
                escaped = re.sub(rb"[#$*}]", lambda m: b"}" + bytes([m[0][0] ^ 0x20]), piece)
                reply = self.query(f"X{address + start:x},{len(piece):x}:".encode() + escaped)
                if reply == "":
                    self._binary = False
                    continue
            else:
                piece = data[start : start + (self._packet - 32) // 2]
                reply = self.query(f"M{address + start:x},{len(piece):x}:{piece.hex()}")
            if reply != "OK":
                raise LinkError(
                    f"the GDB server at {self.server} cannot write {len(piece)} bytes at "
                    f"{address + start:#x} ({reply or 'not supported'})",
                    "check that the firmware is for this board, and that its memory is set up",
                )
            start += len(piece)

    def read_memory(self, address: int, length: int) -> bytes:
        data = b""
        while len(data) < length:
            count = min(length - len(data), (self._packet - 32) // 2)
            reply = self.query(f"m{address + len(data):x},{count:x}")
            try:
                piece = bytes.fromhex(reply)
            except ValueError:
                piece = b""
            if not piece:
                raise LinkError(
                    f"the GDB server at {self.server} cannot read memory at "
                    f"{address + len(data):#x} ({reply or 'not supported'})",
                    "check that the firmware is for this board",
                )
            data += piece
        return data

    def checksum(self, address: int, length: int) -> int | None:
        """The server's CRC (:func:`gdb_crc32`) of memory; None when it computes none."""
        reply = self.query(f"qCRC:{address:x},{length:x}")
        return int(reply[1:], 16) if re.fullmatch(r"C[0-9a-fA-F]+", reply) else None

    def threads(self) -> list[str]:
        """Identifiers of all cores."""
        found: list[str] = []
        reply = self.query("qfThreadInfo")
        while reply.startswith("m"):
            found += reply[1:].split(",")
            reply = self.query("qsThreadInfo")
        return found

    def set_register(self, thread: str, number: int, value: int) -> None:
        """Write a 32-bit register of one core."""
        self.command(f"Hg{thread}")
        self.command(f"P{number:x}={value.to_bytes(4, 'little').hex()}")

    def detach(self) -> None:
        """Let all cores run, and leave."""
        self.command("D")
        self.close()

    # ---- packets ----------------------------------------------------------------------------------------

    def query(self, packet: str | bytes) -> str:
        """Send a packet; the reply, empty when the server does not know it."""
        data = packet.encode() if isinstance(packet, str) else packet
        self._send(data)
        what = data[:24].decode("ascii", "replace")
        reply = self._reply(what)
        # Output of the server's own that nobody asked for.
        while reply.startswith("O") and reply != "OK":
            reply = self._reply(what)
        return reply

    def command(self, packet: str) -> None:
        """Send a packet to which the only good reply is OK."""
        reply = self.query(packet)
        if reply != "OK":
            raise LinkError(
                f"the GDB server at {self.server} refused '{packet}' ({reply or 'not supported'})",
                "update the server, or reset the board and try again",
            )

    def _send(self, data: bytes) -> None:
        wire = b"$" + data + b"#" + f"{sum(data) & 0xFF:02x}".encode()
        for _ in range(_RETRIES):
            try:
                self._socket.sendall(wire)
            except OSError as error:
                raise self._lost(str(error)) from None
            if not self._acknowledge:
                return
            what = f"the acknowledgement of '{data[:24].decode('ascii', 'replace')}'"
            while (sign := self._byte(what)) not in b"+-":
                pass
            if sign == b"+":
                return
        raise self._lost(f"it received a packet damaged {_RETRIES} times")

    def _reply(self, what: str) -> str:
        """The next packet, run-length encoding and escapes undone."""
        for _ in range(_RETRIES):
            while self._byte(f"the reply to '{what}'") != b"$":
                pass
            raw = bytearray()
            while (byte := self._byte(f"the reply to '{what}'")) != b"#":
                raw += byte
            digits = self._byte("a checksum") + self._byte("a checksum")
            good = digits.lower() == f"{sum(raw) & 0xFF:02x}".encode()
            if self._acknowledge:
                with contextlib.suppress(OSError):
                    self._socket.sendall(b"+" if good else b"-")
            if good:
                return _expand(bytes(raw)).decode("latin-1")
            if not self._acknowledge:
                break
        raise self._lost(f"the reply to '{what}' came damaged")

    def _byte(self, what: str) -> bytes:
        deadline = time.monotonic() + self._timeout
        while not self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._lost(f"no answer in {self._timeout:g} s while waiting for {what}")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(f"{error} while waiting for {what}") from None
            if not data:
                raise self._lost(f"it closed the connection while we were waiting for {what}")
            self._received += data
        byte = bytes(self._received[:1])
        del self._received[:1]
        return byte

    def _lost(self, why: str) -> LinkError:
        return LinkError(f"the GDB server at {self.server} failed: {why}", "restart it and try again")


def gdb_crc32(data: bytes) -> int:
    """The CRC-32 of qCRC: polynomial 0x04c11db7, most significant bit first, from ~0, no final XOR."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8) & 0xFFFFFFFF ^ _CRC_TABLE[(crc >> 24) ^ byte]
    return crc


def _crc_entry(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if crc & 0x80000000 else 0)
    return crc


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]


def _expand(raw: bytes) -> bytes:
    """Undo run-length encoding (``x*n``: n - 29 more of x) and escapes (``}``)."""
    out = bytearray()
    at = 0
    while at < len(raw):
        byte = raw[at]
        if byte == ord("}") and at + 1 < len(raw):
            out.append(raw[at + 1] ^ 0x20)
            at += 2
        elif byte == ord("*") and out and at + 1 < len(raw):
            out += bytes([out[-1]]) * (raw[at + 1] - 29)
            at += 2
        else:
            out.append(byte)
            at += 1
    return bytes(out)
