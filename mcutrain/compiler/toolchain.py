"""From generated C to firmware: find a compiler, compile in parallel, link, check the link.

Objects are kept in the user's cache folder under a hash of everything that
decides their contents, so only what changed is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from mcutrain.compiler.elf import Elf, read_elf
from mcutrain.errors import MemoryLimitError, TargetError, ToolchainError
from mcutrain.targets import Target, resources

#: Environment variable that names the compiler, with arguments if need be.
COMPILER_VARIABLE = "MCUTRAIN_CC"
#: Environment variable with further flags for compiling and linking (sanitizers, for instance).
FLAGS_VARIABLE = "MCUTRAIN_CFLAGS"

_COMMON_FLAGS = ("-g0", "-ffunction-sections", "-fdata-sections")
_LINK_FLAGS = ("-Wl,--gc-sections", "-Wl,--build-id=none")
#: Longest time one compiler run may take, in seconds.
_TIME_LIMIT = 300


@dataclass(frozen=True)
class Compiler:
    """A C compiler: how to call it, which family it is of, what it calls itself."""

    command: tuple[str, ...]
    #: ``zig``, ``clang`` or ``gcc``
    family: str
    version: str


@dataclass(frozen=True)
class Unit:
    """One compilation: a source file and the definitions it is compiled with."""

    source: Path
    definitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Firmware:
    """A linked firmware."""

    path: Path
    elf: Elf
    #: bytes of ``text``, ``data`` and ``bss``
    sizes: dict[str, int]


def find_compiler(cc: str | None = None) -> Compiler:
    """The compiler ``cc``, else ``$MCUTRAIN_CC``, else ``zig cc`` of the package ziglang.

    Raises:
        ToolchainError: it is not there or does not run.
    """
    named = cc or os.environ.get(COMPILER_VARIABLE, "")
    if named:
        command = tuple(shlex.split(named))
        if not command or shutil.which(command[0]) is None:
            raise ToolchainError(
                f"the compiler '{named}' is not there", f"correct --cc or ${COMPILER_VARIABLE}, or unset it"
            )
    else:
        command = _zig_command()
    return _identify(command)


def build_firmware(
    target: Target,
    project: Path,
    kernels: Iterable[tuple[str, str]],
    output: Path,
    *,
    compiler: Compiler,
    flags: Sequence[str] = (),
) -> Firmware:
    """Compile the generated project, the kernels it needs, the runtime and the board, and link them.

    Args:
        target: the board.
        project: folder with ``model.c`` and ``weights.S``.
        kernels: (stem, element type) of every kernel file.
        output: the file to write.
        compiler: see :func:`find_compiler`.
        flags: further flags, after the target's.

    Raises:
        ToolchainError: with the compiler's first message.
        TargetError: a source file of the board is missing.
        MemoryLimitError: the linked firmware does not fit the target.
    """
    root = resources()
    flags = (*_adapt(target.flags, compiler.family), *_COMMON_FLAGS, *_extra_flags(), *flags)
    definitions = [f"-D{name}={value}" for name, value in sorted(target.definitions.items())]
    units = [Unit(project / "model.c"), Unit(project / "weights.S")]
    units += [
        Unit(kernel_source(root, target, stem), (f"-DMCT_ELEM={dtype[1:]}",))
        for stem, dtype in sorted(kernels)
    ]
    units += [Unit(path) for path in sorted((root / "targets" / "runtime").glob("*.c"))]
    units += [Unit(path) for path in target.sources]
    for unit in units:
        if not unit.source.is_file():
            raise TargetError(f"target '{target.name}' lacks its source {unit.source}", "reinstall mcutrain")
    include = [f"-I{path}" for path in target.include]
    headers = _digest_headers(target.include)
    mapped = [f"-ffile-prefix-map={project}=.", f"-ffile-prefix-map={root}=."]

    with tempfile.TemporaryDirectory(prefix="mcutrain-") as scratch, _pool() as pool:

        def compile_unit(numbered: tuple[int, Unit]) -> Path:
            number, unit = numbered
            own = (*flags, *definitions, *unit.definitions)
            kept = _cache_path(compiler, own, headers, unit, cached=unit.source.parent != project)
            if kept is not None and kept.is_file():
                return kept
            made = Path(scratch, f"{number:03}-{unit.source.stem}.o")
            source = unit.source.name if unit.source.parent == project else str(unit.source)
            _run([*compiler.command, *own, *mapped, *include, "-c", source, "-o", str(made)], project)
            return _keep(made, kept)

        objects = list(pool.map(compile_unit, enumerate(units)))
        link = [*flags, *_adapt(target.link_flags, compiler.family), *_LINK_FLAGS]
        if target.linker_script is not None:
            link.append(
                f"-Wl,-T,{target.linker_script}" if compiler.family != "zig" else f"-T{target.linker_script}"
            )
        made = Path(scratch, "firmware")
        _run([*compiler.command, *link, *map(str, objects), "-o", str(made)], project)
        shutil.copy(made, output)
    elf = read_elf(output)
    sizes = elf.totals()
    if sum(sizes.values()) > target.memory.size:
        raise MemoryLimitError(
            f"the firmware takes {sum(sizes.values())} bytes ({sizes['text']} of code),"
            f" target '{target.name}' has {target.memory.size} in {target.memory.name}",
            "use --precision mixed, --train with fewer layers, or a smaller model",
        )
    return Firmware(output, elf, sizes)


def kernel_source(root: Path, target: Target, stem: str) -> Path:
    """The C file of kernel ``stem``: a variant for this kind of target, or the one for all."""
    variants = (root / "kernels" / folder / f"{stem}.c" for folder in target.kernel_variants)
    return next((path for path in variants if path.is_file()), root / "kernels" / f"{stem}.c")


def check_link(elf: Elf, data_size: int, arena_size: int) -> None:
    """Raise ToolchainError unless the linked regions have exactly the planned sizes."""
    for name, planned in (("mct_data", data_size), ("mct_arena", max(arena_size, 16))):
        symbol = elf.symbol(name)
        linked = symbol.size if symbol is not None else 0
        if linked != planned:
            raise ToolchainError(
                f"{name} is linked with {linked} bytes, planned with {planned}", "report this as a bug"
            )


def _zig_command() -> tuple[str, ...]:
    try:
        import ziglang
    except ImportError:
        raise ToolchainError(
            "there is no C compiler: the package ziglang is not installed",
            f"pip install ziglang, or name a clang or gcc with --cc or ${COMPILER_VARIABLE}",
        ) from None
    executable = Path(ziglang.__file__).parent / ("zig.exe" if sys.platform == "win32" else "zig")
    if not executable.is_file():
        raise ToolchainError(
            f"the package ziglang lacks {executable.name}", "pip install --force-reinstall ziglang"
        )
    return (str(executable), "cc")


@lru_cache(maxsize=8)
def _identify(command: tuple[str, ...]) -> Compiler:
    is_zig = "cc" in command and (Path(command[0]).stem == "zig" or "ziglang" in command)
    query = [*command[: command.index("cc")], "version"] if is_zig else [*command, "--version"]
    text = _run(query, None).strip()
    family = "zig" if is_zig else "clang" if "clang" in text.lower() else "gcc"
    first = text.splitlines()[0] if text else ""
    return Compiler(command, family, f"zig {first}" if is_zig else first)


def _adapt(flags: Sequence[str], family: str) -> tuple[str, ...]:
    """The target's flags, which are written for ``zig cc``, for another family of compilers.

    ``-target riscv32-freestanding-none`` and ``-mcpu=generic_rv32+m+a`` become
    ``--target=riscv32-unknown-elf`` (clang) and ``-march=rv32ima``.
    """
    if family == "zig":
        return tuple(flags)
    adapted: list[str] = []
    rest = iter(flags)
    for flag in rest:
        if flag == "-target":
            triple = next(rest, "")
            if family == "clang":
                adapted.append(f"--target={triple.split('-')[0]}-unknown-elf")
        elif flag.startswith("-mcpu=generic_rv32"):
            extensions = flag.split("+")[1:]
            single = "".join(e for e in extensions if len(e) == 1)
            long = "".join(f"_{e}" for e in extensions if len(e) > 1)
            adapted.append(f"-march=rv32i{single}{long}")
        else:
            adapted.append(flag)
    return tuple(adapted)


def _extra_flags() -> list[str]:
    return shlex.split(os.environ.get(FLAGS_VARIABLE, ""))


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1)


def _digest_headers(folders: Iterable[Path]) -> bytes:
    """Hash of every header a unit might include."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.h")):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def _cache_path(
    compiler: Compiler, flags: Sequence[str], headers: bytes, unit: Unit, cached: bool
) -> Path | None:
    """Where this object is kept: a name that says all that decides its contents."""
    if not cached:
        return None
    digest = hashlib.sha256(headers)
    for part in (compiler.version, *compiler.command, *flags, unit.source.name, _this_processor(flags)):
        digest.update(f"{part}\0".encode())
    # a variant of a kernel includes the one it stands in for
    for source in (unit.source, unit.source.parent.parent / unit.source.name):
        if source.is_file():
            digest.update(source.read_bytes())
    return Path(platformdirs.user_cache_dir("mcutrain"), "objects", f"{digest.hexdigest()}.o")


def _this_processor(flags: Sequence[str]) -> str:
    """What ``-march=native`` means here: a cache folder may be shared between computers."""
    if "-march=native" not in flags:
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features", "isa"))), "")


def _keep(made: Path, kept: Path | None) -> Path:
    """Move an object into the cache; where that is impossible, go on without it."""
    if kept is None:
        return made
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as half:
            half.write(made.read_bytes())
        os.replace(half.name, kept)
    except OSError:
        return made
    return kept


def _run(command: Sequence[str], folder: Path | None) -> str:
    """Run the compiler; raises ToolchainError with its first message."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_LIMIT,
            check=False,
        )
    except OSError as error:
        raise ToolchainError(f"cannot run {command[0]}: {error.strerror}", "pip install ziglang") from None
    except subprocess.TimeoutExpired:
        raise ToolchainError(
            f"{command[0]} did not end within {_TIME_LIMIT} s", "look at the machine's load"
        ) from None
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    message = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
    if "will not fit in region" in message:
        raise MemoryLimitError(
            f"the firmware does not fit: {message}",
            "use --precision mixed, --train with fewer layers, or a smaller model",
        )
    raise ToolchainError(
        f"the compiler refused (status {done.returncode}): {message}",
        f"check the compiler ({shlex.join(command[:2])}); with zig cc of the package ziglang this is a bug",
    )
