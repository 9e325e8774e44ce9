"""The hand-made model of firmware/model.c: how to build it, its manifest, and a link that misbehaves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from mcutrain.compiler.toolchain import find_compiler
from mcutrain.device.transport import Transport
from mcutrain.manifest import CallEntry, Manifest, MemoryEntry, Options, ProgramEntry, TensorEntry
from mcutrain.targets import find_target, resources

MODEL = Path(__file__).parent / "firmware" / "model.c"
BUILD_ID = "ab" + "00" * 31


def build(target_name: str, output: Path, flags: tuple[str, ...] = (), compiler: str = "") -> Path:
    """Compile the hand-made model for a target, warnings being errors."""
    target = find_target(target_name)
    command = [
        *([compiler] if compiler else find_compiler().command),
        *target.flags,
        *(f"-D{name}={value}" for name, value in target.definitions.items()),
        *(f"-I{folder}" for folder in target.include),
        *("-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument", *flags),
        *([f"-Wl,-T,{target.linker_script}"] if target.linker_script else []),
        str(MODEL),
        *map(str, sorted((resources() / "targets" / "runtime").glob("*.c"))),
        *map(str, target.sources),
        *target.link_flags,
        *("-o", str(output)),
    ]
    if compiler:
        command.remove("-Wno-unused-command-line-argument")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


def sanitizing_compiler() -> str:
    """A compiler with address and undefined-behaviour sanitizers, or an empty string (zig has none)."""
    return next((name for name in ("gcc", "clang") if shutil.which(name)), "")


def manifest(build_id: str = BUILD_ID, workers: int = 8) -> Manifest:
    """What firmware/model.c holds."""
    tensors = (
        TensorEntry("head", "i32", (4,), "state", "data", 0, 16),
        TensorEntry("counts", "i32", (8,), "state", "arena", 0, 32),
        TensorEntry("x", "f32", (32, 32), "input", "arena", 4096, 4096),
        TensorEntry("half", "f16", (3, 5), "state", "arena", 12288, 30),
        TensorEntry("big", "f32", (50_000,), "state", "arena", 16384, 200_000),
        TensorEntry("outside", "i32", (4,), "state", "data", 4092, 16),
    )
    call = CallEntry("kernel", "layer", "op", (), ())
    y = TensorEntry("y", "f32", (32, 32), "activation", "arena", 8192, 4096)
    programs = (
        ProgramEntry("step", ("x",), ("y",), (call, call), (y,)),
        ProgramEntry("slow", (), (), (call,) * 101),
        ProgramEntry("missing", (), (), (call,)),
    )
    return Manifest(
        name="handmade",
        options=Options(workers=workers),
        tensors=tensors,
        programs=programs,
        layers=(),
        memory=MemoryEntry(0, 0, 0, 0, 0, 0, 0),
        data_size=4096,
        arena_size=1 << 20,
        data_sha256="",
        build_id=build_id,
    )


class UnreliableTransport:
    """A transport whose bytes pass through two functions on their way."""

    def __init__(
        self,
        inner: Transport,
        outgoing: Callable[[bytes], bytes] = lambda data: data,
        incoming: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        self.inner = inner
        self.outgoing = outgoing
        self.incoming = incoming

    @property
    def name(self) -> str:
        return self.inner.name

    def read(self, timeout: float) -> bytes:
        return self.incoming(self.inner.read(timeout))

    def write(self, data: bytes, timeout: float) -> None:
        self.inner.write(self.outgoing(data), timeout)

    def close(self) -> None:
        self.inner.close()
