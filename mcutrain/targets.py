"""Targets: what a board is, read from ``targets/<name>/target.toml``.

A board is one folder.  A variant of a board is a folder whose ``target.toml``
says ``inherit = "<other>"`` and overrides some keys.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcutrain.errors import TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

#: Keys a ``target.toml`` may have, by table.
_KEYS: dict[str, dict[str, type]] = {
    "": {
        "inherit": str,
        "description": str,
        "simulator": str,
        "link": str,
        "workers": int,
        "dot": str,
        "maximum_body": int,
        "memory": dict,
        "fast_memory": dict,
        "compiler": dict,
    },
    "memory": {"name": str, "size": int},
    "fast_memory": {"name": str, "size": int, "reserved": int},
    "compiler": {
        "flags": list,
        "link_flags": list,
        "definitions": dict,
        "sources": list,
        "kernel_variants": list,
        "linker_script": str,
        "executable": str,
    },
}
_SIMULATORS = ("", "native", "qemu", "gvsoc")
_LINKS = ("pipe", "semihosting", "uart")


@dataclass(frozen=True)
class Memory:
    """The memory that holds a model: ``size`` bytes for its data, arena and code together."""

    name: str
    size: int


@dataclass(frozen=True)
class FastMemory:
    """The scratch-pad of a cluster, where tiled kernels work: ``size`` bytes, some of them the runtime's."""

    name: str
    size: int
    reserved: int

    @property
    def usable(self) -> int:
        """Bytes a kernel call may use."""
        return self.size - self.reserved


@dataclass(frozen=True)
class Target:
    """A board, complete: variants are resolved and every path is absolute."""

    name: str
    description: str
    #: which of :mod:`mcutrain.simulators` runs it; empty for a board of silicon
    simulator: str
    #: how bytes reach the firmware: ``pipe``, ``semihosting`` or ``uart``
    link: str
    #: most workers a build may use
    workers: int
    #: the rule of an FP16 dot product with FP32 accumulation
    dot: str
    #: longest body of a frame in bytes; the device has a few buffers of this size
    maximum_body: int
    memory: Memory
    #: None on a target without tiled kernels; its usable bytes are the definition ``MCT_L1_SIZE``
    fast_memory: FastMemory | None
    #: flags for compiling and linking alike
    flags: tuple[str, ...]
    #: further flags for linking
    link_flags: tuple[str, ...]
    #: preprocessor definitions, name to value; ``MCT_MAXIMUM_BODY`` and ``MCT_LINK_<link>`` among them
    definitions: Mapping[str, str]
    #: the board's own C and assembly files
    sources: tuple[Path, ...]
    #: subfolders of ``kernels/`` whose files replace those of the same name, first come first served
    kernel_variants: tuple[str, ...]
    #: folders for ``-I``: kernels, runtime, board
    include: tuple[Path, ...]
    linker_script: Path | None
    #: file name of the linked firmware
    executable: str


def resources() -> Path:
    """The folder that holds ``kernels/``, ``codegen/`` and ``targets/``.

    In a checkout it is the root; an installed wheel carries it as package data.

    Raises:
        TargetError: neither is there, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_data", package.parent):
        if (folder / "targets" / "runtime" / "mct_model.h").is_file():
            return folder
    raise TargetError(f"no targets/ beside or inside {package}", "reinstall mcutrain")


def list_targets() -> list[str]:
    """Names of all targets, sorted."""
    return sorted(path.parent.name for path in (resources() / "targets").glob("*/target.toml"))


def find_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        TargetError: there is none, or its ``target.toml`` has a mistake.
    """
    root = resources()
    known = list_targets()
    if name not in known:
        raise TargetError(f"unknown target '{name}'", f"choose one of {', '.join(known)}")
    table, home = _load(root / "targets", name, ())
    try:
        return _build(root, home, name, table)
    except KeyError as error:
        raise TargetError(f"target '{name}' lacks the key {error} in its target.toml", "add it") from None


def _load(folder: Path, name: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], Path]:
    """The resolved table of a target, and the folder that holds its files."""
    path = folder / name / "target.toml"
    if name in seen:
        raise TargetError(f"targets inherit in a circle: {' → '.join((*seen, name))}", "break it")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetError(
            f"target '{seen[-1]}' inherits the unknown target '{name}'", f"add {path}"
        ) from None
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot read {path}: {error}", "correct the file") from None
    _check(path, table)
    if "inherit" not in table:
        return table, path.parent
    base, home = _load(folder, table.pop("inherit"), (*seen, name))
    for key, value in table.items():
        base[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return base, home


def _check(path: Path, table: dict[str, Any]) -> None:
    """Refuse unknown keys and wrong types, naming them."""
    tables: dict[str, Any] = {
        "": table,
        **{key: table[key] for key in ("memory", "fast_memory", "compiler") if key in table},
    }
    for section, entries in tables.items():
        allowed = _KEYS[section]
        for key, value in entries.items() if isinstance(entries, dict) else ():
            label = f"{section}.{key}" if section else key
            if key not in allowed:
                raise TargetError(f"{path}: unknown key '{label}'", f"the keys are {', '.join(allowed)}")
            if not isinstance(value, allowed[key]) or isinstance(value, bool):
                raise TargetError(f"{path}: '{label}' must be of type {allowed[key].__name__}", "correct it")
        if not isinstance(entries, dict):
            raise TargetError(f"{path}: '{section}' must be a table", "correct it")


def _build(root: Path, home: Path, name: str, table: dict[str, Any]) -> Target:
    compiler, memory = table["compiler"], table["memory"]
    for key, allowed in (("simulator", _SIMULATORS), ("link", _LINKS)):
        if table[key] not in allowed:
            choices = ", ".join(repr(choice) for choice in allowed)
            raise TargetError(f"target '{name}': {key} '{table[key]}' is unknown", f"choose one of {choices}")
    if not 1 <= table["workers"] <= 8:
        raise TargetError(f"target '{name}': workers is {table['workers']}", "give 1 to 8")
    if not 256 <= table["maximum_body"] <= 1 << 20:
        raise TargetError(
            f"target '{name}': maximum_body {table['maximum_body']}", "give 256 to 1048576 bytes"
        )
    fast = None
    if (scratch := table.get("fast_memory")) is not None:
        for key in _KEYS["fast_memory"]:
            if key not in scratch:
                raise TargetError(f"target '{name}' lacks the key 'fast_memory.{key}'", "add it")
        fast = FastMemory(scratch["name"], scratch["size"], scratch["reserved"])
    if fast is not None and not 1024 <= fast.usable <= fast.size:
        raise TargetError(
            f"target '{name}': {fast.reserved} of {fast.size} bytes of {fast.name} are reserved",
            "leave 1024 bytes or more",
        )
    script = compiler.get("linker_script")
    return Target(
        name=name,
        description=table["description"],
        simulator=table["simulator"],
        link=table["link"],
        workers=table["workers"],
        dot=table["dot"],
        maximum_body=table["maximum_body"],
        memory=Memory(memory["name"], memory["size"]),
        fast_memory=fast,
        flags=tuple(compiler["flags"]),
        link_flags=tuple(compiler.get("link_flags", ())),
        definitions={
            **{key: str(value) for key, value in compiler.get("definitions", {}).items()},
            f"MCT_LINK_{table['link'].upper()}": "1",
            "MCT_MAXIMUM_BODY": str(table["maximum_body"]),
            **({"MCT_L1_SIZE": str(fast.usable)} if fast is not None else {}),
        },
        sources=tuple(home / source for source in compiler["sources"]),
        kernel_variants=tuple(compiler.get("kernel_variants", ())),
        include=(root / "kernels", root / "targets" / "runtime", home),
        linker_script=home / script if script else None,
        executable=compiler["executable"],
    )
