"""The verbs with QEMU: a board that is flashed and driven by ``--port``, and a simulator that dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from dense_model import make_dense_model
from onnx import numpy_helper

from mcutrain.cli.main import main
from mcutrain.simulators.qemu import MACHINE, find

pytestmark = pytest.mark.qemu


def compiled(model: Path, target: str, out: Path) -> Path:
    assert main(["compile", str(model), "--target", target, "--loss", "cross-entropy", "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Path:
    return compiled(dense_model, "qemu-uart", tmp_path_factory.mktemp("qemu") / "uart")


@pytest.fixture
def board() -> Iterator[tuple[str, str]]:
    """A chip without a program: addresses of its GDB server and its serial port."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports.append(int(server.getsockname()[1]))
    command = [find(), *MACHINE, "-S", "-gdb", f"tcp:127.0.0.1:{ports[0]}"]
    command += ["-serial", f"tcp:127.0.0.1:{ports[1]},server=on,wait=off"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        listening = {f":{port:04X}" for port in ports}
        for _ in range(500):
            table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            if listening <= {row[1][-5:] for row in table if row[3] == "0A"}:
                break
            time.sleep(0.02)
        yield f"localhost:{ports[0]}", f"socket://localhost:{ports[1]}"
    finally:
        process.kill()
        process.wait()


def test_a_board_is_flashed_trained_and_read_over_its_port(
    build: Path, board: tuple[str, str], dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gdb, port = board
    assert main(["flash", str(build), "--gdb", gdb]) == 0
    assert "loaded, verified and started" in capsys.readouterr().out
    data = ["--data", "digits", "--limit", "30"]
    trained, pulled = tmp_path / "trained.onnx", tmp_path / "pulled.onnx"
    assert main(["train", str(build), *data, "--port", port, "--keep", "last", "--out", str(trained)]) == 0
    # The board kept what it learned, and another command reads it.
    assert main(["pull", str(build), "--port", port, "--out", str(pulled)]) == 0
    assert pulled.read_bytes() == trained.read_bytes()
    assert main(["verify", str(build), "--data", "digits", "--port", port]) == 0
    assert main(["push", str(build), str(dense_model), "--port", port]) == 0
    assert main(["pull", str(build), "--port", port, "--out", str(pulled)]) == 0
    original = {i.name: numpy_helper.to_array(i) for i in onnx.load(dense_model).graph.initializer}
    for initializer in onnx.load(pulled).graph.initializer:
        assert np.array_equal(numpy_helper.to_array(initializer), original[initializer.name])


def test_a_device_that_runs_another_build(
    build: Path, board: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = compiled(make_dense_model(tmp_path / "other.onnx", outputs=11), "qemu-uart", tmp_path / "other")
    assert main(["flash", str(other), "--gdb", board[0]]) == 0
    capsys.readouterr()
    assert main(["eval", str(build), "--data", "digits", "--port", board[1]]) == 2
    message = capsys.readouterr().err
    for folder in (build, other):
        assert json.loads((folder / "manifest.json").read_text())["build_id"][:10] in message


def test_qemu_dies_in_mid_training(dense_model: Path, tmp_path: Path) -> None:
    build = compiled(dense_model, "qemu", tmp_path / "build")
    out = tmp_path / "t.onnx"
    code = "from mcutrain.cli.main import run; run()"
    arguments = ["train", str(build), "--data", "digits", "--epochs", "100000", "--no-validate"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        simulator = wait_for_descendant(process.pid, find().rpartition("/")[2][:15])
        time.sleep(1.0)
        os.kill(simulator, signal.SIGKILL)
        shown, message = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, (shown, message)
    assert "QEMU" in message
    assert "Traceback" not in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["build"] or "epoch 1" in shown


def wait_for_descendant(ancestor: int, name: str) -> int:
    """Process number of the program called ``name`` that was started below ``ancestor``."""
    for _ in range(1000):
        parents = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit():
                    number, _, rest = (entry / "stat").read_text().partition(" (")
                    command, _, fields = rest.rpartition(") ")
                    parents[int(number)] = (command, int(fields.split()[1]))
        for process, (command, parent) in parents.items():
            while parent in parents and parent != ancestor:
                parent = parents[parent][1]
            if command == name and parent == ancestor:
                return process
        time.sleep(0.02)
    raise AssertionError(f"{name} did not start")
