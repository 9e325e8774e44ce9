"""Serial ports and sockets: opened, in use, missing, lost."""

from __future__ import annotations

import os
import socket
import threading
import tty
from collections.abc import Callable, Iterator

import handmade
import numpy as np
import pytest

from mcutrain.device.session import Session
from mcutrain.device.transport import SerialTransport, Transport
from mcutrain.errors import LinkError


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the master's descriptor and the port's path."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_bytes_over_a_port(pty: tuple[int, str]) -> None:
    master, port = pty
    transport = SerialTransport(port)
    transport.write(b"\0\1\2", 1)
    assert os.read(master, 10) == b"\0\1\2"
    os.write(master, b"\3\0\4")
    assert transport.read(1) == b"\3\0\4"
    assert transport.read(0.05) == b""
    transport.close()
    transport.close()
    with pytest.raises(LinkError, match="failed"):
        transport.read(0.1)


def test_a_port_in_use(pty: tuple[int, str]) -> None:
    transport = SerialTransport(pty[1])
    with pytest.raises(LinkError, match=r"cannot open port .* — another program uses it"):
        SerialTransport(pty[1])
    transport.close()
    SerialTransport(pty[1]).close()


@pytest.mark.parametrize(
    ("port", "remedy"),
    [
        ("/dev/no-such-port", "check the name"),
        ("socket://127.0.0.1:1", "start the server"),
        ("nonsense://x", "check the name"),
        ("socket://nowhere", "check the name"),
    ],
)
def test_a_port_that_cannot_be_opened(port: str, remedy: str) -> None:
    with pytest.raises(LinkError, match=f"cannot open port '{port}'.* — {remedy}"):
        SerialTransport(port)


def test_a_socket_that_closes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = SerialTransport(f"socket://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        connection.sendall(b"\1\2")
        assert transport.read(1) == b"\1\2"
        connection.close()
        with pytest.raises(LinkError, match="failed"):
            transport.read(1)
        transport.close()


def test_a_session_over_a_socket(link: Callable[[str], Transport]) -> None:
    """As a board behind a network adapter has it: any pyserial URL carries a session."""
    inner = link("native")
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def forward() -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(0.01)
            while not ended.is_set():
                try:
                    data = connection.recv(65536)
                    if not data:
                        return
                    inner.write(data, 5)
                except TimeoutError:
                    pass
                try:
                    back = inner.read(0.01)
                except Exception:
                    return
                connection.sendall(back)

    thread = threading.Thread(target=forward)
    thread.start()
    numbers = np.arange(1024, dtype=np.float32).reshape(32, 32)
    port = f"socket://127.0.0.1:{server.getsockname()[1]}"
    with Session(SerialTransport(port), handmade.manifest()) as session:
        np.testing.assert_array_equal(session.run("step", {"x": numbers}, ["y"])["y"], numbers * 2 + 1)
    ended.set()
    thread.join()
    server.close()
