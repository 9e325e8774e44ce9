"""Simulators: missing, dying at any moment, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import handmade
import pytest

from mcutrain import simulators
from mcutrain.device.session import Session
from mcutrain.device.transport import Transport
from mcutrain.errors import OptionError, SimulatorError
from mcutrain.simulators.process import SimulatorTransport
from mcutrain.targets import find_target

NAMES = ["native", pytest.param("qemu", marks=pytest.mark.qemu)]


def members(group: int) -> list[int]:
    """Processes of a process group that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def gone(group: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill_simulator(transport: SimulatorTransport) -> None:
    """Kill the simulator itself, not its guard."""
    for pid in members(transport.process.identifier):
        name = Path(f"/proc/{pid}/exe").resolve().name
        if not name.startswith(("sh", "dash", "bash", "busybox")):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", NAMES)
def test_closing_ends_every_process(link: Callable[[str], SimulatorTransport], name: str) -> None:
    transport = link(name)
    group = transport.process.identifier
    Session(transport, handmade.manifest()).close()
    assert gone(group, 1)


@pytest.mark.parametrize("name", NAMES)
def test_closing_a_transport_without_goodbye_ends_every_process(
    link: Callable[[str], SimulatorTransport], name: str
) -> None:
    transport = link(name)
    group = transport.process.identifier
    assert members(group)
    transport.close()
    assert gone(group, 1)


@pytest.mark.parametrize("name", NAMES)
def test_death_in_the_middle_of_a_program(link: Callable[[str], SimulatorTransport], name: str) -> None:
    transport = link(name)
    session = Session(transport, handmade.manifest())
    timer = threading.Timer(0.1, kill_simulator, [transport])
    timer.start()
    start = time.monotonic()
    with pytest.raises(SimulatorError, match="was killed by signal 9"):
        run_often(session)
    assert time.monotonic() - start < 5
    timer.join()
    session.close()
    assert gone(transport.process.identifier)


def run_often(session: Session) -> None:
    for _ in range(10_000):
        session.run("slow")


@pytest.mark.parametrize("name", NAMES)
def test_death_between_requests(link: Callable[[str], SimulatorTransport], name: str) -> None:
    transport = link(name)
    with Session(transport, handmade.manifest()) as session:
        kill_simulator(transport)
        time.sleep(0.1)
        with pytest.raises(SimulatorError, match="was killed by signal 9"):
            session.read(["x"])


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_host_leaves_nothing_behind(
    firmware: Callable[[str], Path], name: str, end: signal.Signals
) -> None:
    program = (
        "import sys, time; from pathlib import Path; from mcutrain import simulators;"
        "from mcutrain.targets import find_target;"
        "t = simulators.start(find_target(sys.argv[1]), Path(sys.argv[2]));"
        "print(t.process.identifier, flush=True); time.sleep(60)"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program, name, str(firmware(name))], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    group = int(host.stdout.readline())
    assert members(group)
    host.send_signal(end)
    host.wait()
    host.stdout.close()
    assert gone(group)


def test_forgotten_simulators_end_with_the_host(firmware: Callable[[str], Path]) -> None:
    program = (
        "import sys; from pathlib import Path; from mcutrain.simulators import native;"
        "t = native.start(Path(sys.argv[1])); print(t.process.identifier)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(firmware("native"))], capture_output=True, text=True, check=True
    )
    assert gone(int(done.stdout))


@pytest.mark.qemu
def test_an_exception_of_the_firmware_is_named(tmp_path: Path) -> None:
    firmware = handmade.build("qemu", tmp_path / "firmware.elf", ("-DCRASH",))
    transport = simulators.start(find_target("qemu"), firmware)
    with (
        Session(transport, handmade.manifest()) as session,
        pytest.raises(SimulatorError, match=r"ended with status 71 \(.*exception: store outside memory\)"),
    ):
        session.run("step")


def test_missing_qemu_says_how_to_get_it(
    firmware: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = firmware("native")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match="qemu-system-riscv32 in PATH — install it: apt-get install"):
        simulators.start(find_target("qemu"), path)


@pytest.mark.qemu
def test_qemu_that_does_not_start_is_quoted(tmp_path: Path, link: Callable[[str], Transport]) -> None:
    missing = tmp_path / "missing.elf"
    transport = simulators.start(find_target("qemu"), missing)
    with pytest.raises(SimulatorError, match=r"ended with status 1; it wrote: .*missing\.elf"):
        Session(transport, handmade.manifest())


def test_a_file_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="not an executable file"):
        simulators.start(find_target("native"), tmp_path / "firmware")


def test_a_program_that_is_no_firmware(tmp_path: Path) -> None:
    script = tmp_path / "firmware"
    script.write_text("#!/bin/sh\necho something else entirely\nexit 7\n")
    script.chmod(0o755)
    transport = simulators.start(find_target("native"), script)
    with pytest.raises(SimulatorError, match="ended with status 7; it wrote: something else entirely"):
        Session(transport, handmade.manifest())


def test_a_board_has_no_simulator() -> None:
    from dataclasses import replace

    with pytest.raises(OptionError, match="--port"):
        simulators.start(replace(find_target("native"), simulator=""), Path("x"))


@pytest.mark.qemu
def test_idle_harts_sleep(link: Callable[[str], SimulatorTransport]) -> None:
    """Nine harts that spin starve a host of two cores: waiting must take no processor time."""
    transport = link("qemu")
    with Session(transport, handmade.manifest()) as session:
        session.run("step")
        pids = members(transport.process.identifier)

        def ticks() -> int:
            total = 0
            for pid in pids:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
            return total

        before = ticks()
        time.sleep(1)
        assert (ticks() - before) / os.sysconf("SC_CLK_TCK") < 0.1
