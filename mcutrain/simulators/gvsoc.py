"""GVSoC's pulp-open: PULP's controller and cluster, linked over a semihosted pty."""

from __future__ import annotations

import functools
import os
import re
import shutil
import struct
import tempfile
import time
import tty
from pathlib import Path

from mcutrain.errors import SimulatorError
from mcutrain.simulators.flash import make_blank
from mcutrain.simulators.process import SimulatorProcess, SimulatorTransport

EXECUTABLE = "gvsoc"
HOME_VARIABLE = "GVSOC_HOME"
TARGET = "pulp-open"
INSTALL = (
    f"build it from https://github.com/gvsoc/gvsoc (make all TARGETS={TARGET}), "
    f"then put its bin folder on PATH or set ${HOME_VARIABLE}"
)
REPAIR = (
    f"build GVSoC with TARGETS={TARGET}; its Python needs the packages in its requirements.txt: "
    "put that Python first on PATH"
)

#: Seconds the probe may take: most of it is Python's start, on a busy machine.
_PATIENCE = 60.0
_GREETING = b"mcutrain\n"
#: What the board's exception handler adds to the cause to make an exit status.
_TRAP = 64
_CAUSES = {1: "jump outside memory", 2: "illegal instruction", 11: "illegal instruction"}

_L2, _STANDARD_OUTPUT, _EXIT = 0x1C010000, 0x1A10FF80, 0x1A1040A0


def find() -> str:
    """Path of GVSoC's command; raises SimulatorError that says how to get it."""
    home = os.environ.get(HOME_VARIABLE)
    places = [Path(home, "bin", EXECUTABLE), Path(home, "install", "bin", EXECUTABLE)] if home else []
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    path = shutil.which(EXECUTABLE)
    if path is None:
        where = f" nor below ${HOME_VARIABLE} ({home})" if home else ""
        raise SimulatorError(f"GVSoC is missing: there is no {EXECUTABLE} in PATH{where}", INSTALL)
    return path


def probe(program: str) -> None:
    """Run a few instructions on GVSoC, once per process.

    Raises:
        SimulatorError: it does not run them: its target or a Python package is missing.
    """
    _probe(program, os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=4)
def _probe(program: str, path: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mcutrain-probe-") as folder:
        binary = Path(folder, "probe.elf")
        binary.write_bytes(_probe_binary())
        process = _launch(program, binary, Path(tempfile.mkdtemp(prefix="mcutrain-gvsoc-")))
        try:
            deadline = time.monotonic() + _PATIENCE
            while process.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            late, log = process.alive(), process.log()
        finally:
            process.end()
    if _GREETING.decode().strip() in log and not late:
        return
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    what = "did not end" if late else f"failed: {lines[-1]}" if lines else "printed nothing"
    raise SimulatorError(f"GVSoC ({program}) does not run {TARGET}: a probe {what}", REPAIR)


def start(firmware: Path, flash: Path | None = None) -> SimulatorTransport:
    """Run a firmware on GVSoC, with a file as its flash.

    Raises:
        SimulatorError: GVSoC is missing, does not run pulp-open, or does not start.
    """
    program = find()
    probe(program)
    folder = Path(tempfile.mkdtemp(prefix="mcutrain-gvsoc-"))
    master, slave = os.openpty()
    try:
        # No echo, no line ends: every byte as it is. The slave stays open so that the line never hangs up
        # before GVSoC has opened it.
        tty.setraw(slave)
        (folder / "serial0").symlink_to(os.ttyname(slave))
        if flash is None:  # one that forgets: GVSoC ends when a file is missing
            make_blank(folder / "flash0", "gvsoc")
        else:
            (folder / "flash0").symlink_to(flash.resolve())
        process = _launch(program, firmware.resolve(), folder)
    except BaseException:
        os.close(master)
        os.close(slave)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return SimulatorTransport(master, process, keep_open=slave)


def _launch(program: str, binary: Path, folder: Path) -> SimulatorProcess:
    """Start GVSoC in ``folder``, which it fills with its configuration."""
    command = [program, f"--target={TARGET}", f"--work-dir={folder}", "--binary", str(binary)]
    command += ["image", "flash", "run"]
    process = SimulatorProcess("GVSoC", command, folder, explain=lambda status: _explain(process.log()))
    return process


def _explain(log: str) -> str:
    """What the exit status of ``targets/gvsoc`` that GVSoC has written means; its own is only 0 or 1."""
    found = re.findall(r"exitcode: (\d+)", log)
    status = int(found[-1]) if found else 0
    if status == 3:
        return "the firmware lost its link"
    if _TRAP <= status < _TRAP + 32:
        cause = status - _TRAP
        return f"the firmware stopped on an exception: {_CAUSES.get(cause, f'cause {cause}')}"
    return ""


def _probe_binary() -> bytes:
    """A 32-bit RISC-V ELF file that prints a word and ends the simulation with status 0."""
    t0, t1, t2 = 5, 6, 7
    code = [_lui(t0, _STANDARD_OUTPUT), _addi(t0, t0, _STANDARD_OUTPUT)]
    for letter in _GREETING:
        code += [_addi(t1, 0, letter), _sw(t1, t0)]
    code += [_lui(t0, _EXIT), _addi(t0, t0, _EXIT), _lui(t2, 1 << 31), _sw(t2, t0), 0x0000006F]
    text = struct.pack(f"<{len(code)}I", *code)
    headers = 52 + 32
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 243, 1, _L2, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, headers, _L2, _L2, len(text), len(text), 5, 4)
    return header + segment + text


def _lui(to: int, value: int) -> int:
    """The upper 20 bits of ``value``, rounded so that the signed lower 12 bits can be added."""
    return (value + 0x800) & 0xFFFFF000 | to << 7 | 0x37


def _addi(to: int, source: int, value: int) -> int:
    return (value & 0xFFF) << 20 | source << 15 | to << 7 | 0x13


def _sw(source: int, address: int) -> int:
    return source << 20 | address << 15 | 2 << 12 | 0x23
