"""What this computer has of what mcutrain can use, and how to get the rest."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mcutrain.compiler.toolchain import find_compiler
from mcutrain.errors import McutrainError
from mcutrain.simulators import gvsoc
from mcutrain.targets import list_targets


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    found: bool
    #: version and place when found, else what is missing
    detail: str
    #: how to get it; empty when found
    remedy: str = ""
    #: whether compiling or training is impossible without it
    required: bool = False


def examine() -> Iterator[Finding]:
    """Look for everything, one finding at a time; raises nothing."""
    yield Finding("Python", True, platform.python_version())
    yield _compiler()
    yield _boards()
    yield _program(
        "QEMU",
        "qemu-system-riscv32",
        "sudo apt-get install qemu-system-misc (Fedora: qemu-system-riscv; macOS: brew install qemu)",
    )
    yield _gvsoc()
    yield _serial_ports()
    yield _package("ONNX Runtime", "onnxruntime", "pip install onnxruntime (scores trained.onnx elsewhere)")
    yield _package("scikit-learn", "sklearn", "pip install 'mcutrain[data]' (for --data digits)")


def _compiler() -> Finding:
    """A compiler counts when it compiles a program for this computer."""
    try:
        compiler = find_compiler()
    except McutrainError as error:
        return Finding("C compiler", False, error.reason, error.remedy, required=True)
    detail = f"{compiler.family} {compiler.version}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        command = [*compiler.command, "-o", str(source.with_suffix("")), str(source)]
        works = _output(command, seconds=120) is not None
    if works:
        return Finding("C compiler", True, detail)
    return Finding(
        "C compiler", False, f"{detail} cannot compile an empty program", "pip install ziglang", required=True
    )


def _boards() -> Finding:
    try:
        return Finding("targets", True, ", ".join(list_targets()))
    except McutrainError as error:
        return Finding("targets", False, error.reason, error.remedy, required=True)


def _program(name: str, executable: str, remedy: str) -> Finding:
    path = shutil.which(executable)
    if path is None:
        return Finding(name, False, f"{executable} is not on PATH", remedy)
    lines = (_output([path, "--version"], seconds=20) or "").splitlines()
    return Finding(name, True, f"{lines[0]}, {path}" if lines else path)


def _gvsoc() -> Finding:
    """GVSoC counts when it has PULP's target and runs a few instructions on it."""
    try:
        program = gvsoc.find()
        gvsoc.probe(program)
    except McutrainError as error:
        return Finding("GVSoC", False, error.reason, error.remedy)
    return Finding("GVSoC", True, f"runs {gvsoc.TARGET}, {program}")


def _serial_ports() -> Finding:
    from serial.tools.list_ports import comports

    ports: Callable[[], list[object]] = comports
    found = [f"{port.device} ({port.description})" for port in ports()]  # type: ignore[attr-defined]
    if found:
        return Finding("serial ports", True, ", ".join(found))
    return Finding("serial ports", False, "none", "plug in a board; simulators need none")


def _package(name: str, module: str, remedy: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(name, False, "not installed", remedy)
    return Finding(name, True, "installed")


def _output(command: list[str], seconds: float) -> str | None:
    """Standard output of a command that ends well, else None."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
