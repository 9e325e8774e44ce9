"""``manifest.json``: all that a build and its driver have to agree about.

The compiler writes it beside the firmware; the driver reads it and nothing
else.  The firmware carries ``build_id``, the SHA-256 of the canonical JSON
without that field, so that a driver never talks to another build.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mcutrain.errors import BuildError, OptionError
from mcutrain.files import parse_json
from mcutrain.ir import DType, Kind, Origin

#: Version of the manifest's layout.
FORMAT = 1
#: Version of the arithmetic contract; a change of any bit anywhere raises it.
NUMERICS = 1
#: Name of the file in a build directory.
FILE_NAME = "manifest.json"

Precision = Literal["fp32", "mixed"]
Loss = Literal["cross-entropy", "mse"]
Optimizer = Literal["sgd"]
Region = Literal["data", "arena"]
#: Unlearning methods, and parts of methods, that a build can carry the Programs of.
UNLEARNING = (
    "ssd",
    "rollback",
    "analytic-head",
    "sparse-finetune",
    "distill",
    "gradient",
    "gradient+projection",
    "gradient+mask",
)


@dataclass(frozen=True)
class TileChoice:
    """A tile that the user wants for the kernel call of one node (``conv1``, ``conv1.weight_gradient``).

    Rows of the result, and its columns or channels; 0 leaves one of them to the compiler.
    """

    layer: str
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True)
class Options:
    """What the user asked for; with the model it determines every byte of a build."""

    target: str = "native"
    precision: Precision = "fp32"
    #: None builds a firmware that only infers
    loss: Loss | None = None
    optimizer: Optimizer = "sgd"
    #: whether momentum buffers exist
    momentum: bool = False
    #: whether train_step updates each weight as soon as its gradient is known (batch 1, no accumulators)
    immediate: bool = False
    #: layer globs; the parameters of layers that match none are frozen
    train: tuple[str, ...] = ("*",)
    #: unlearning methods the build has the Programs of, from :data:`UNLEARNING`
    unlearn: tuple[str, ...] = ()
    #: cores that share the work, 1 to 8
    workers: int = 8
    #: spare bytes on either side of every buffer, a multiple of 16 (to detect stray writes)
    guard: int = 0
    #: tiles in place of those the compiler chooses
    tiles: tuple[TileChoice, ...] = ()

    def check(self) -> None:
        """Raise OptionError naming the first option with a value that cannot be."""
        choices: list[tuple[str, object, tuple[object, ...]]] = [
            ("precision", self.precision, get_args(Precision)),
            ("loss", self.loss, (*get_args(Loss), None)),
            ("optimizer", self.optimizer, get_args(Optimizer)),
        ]
        for name, value, known in choices:
            if value not in known:
                raise OptionError(f"unknown {name} '{value}'", f"choose from {', '.join(map(str, known))}")
        if self.immediate and self.momentum:
            raise OptionError("immediate updates have no momentum", "leave one of the two out")
        for method in self.unlearn:
            if method not in UNLEARNING:
                raise OptionError(
                    f"there is no unlearning method '{method}'", f"choose from {', '.join(UNLEARNING)}"
                )
        if self.unlearn and self.loss is None:
            raise OptionError("unlearning needs a loss", "give --loss cross-entropy or --loss mse")
        if self.immediate and self.unlearn:
            raise OptionError(
                "unlearning needs the gradients that immediate updates do without", "leave one of the two out"
            )
        if not 1 <= self.workers <= 8:
            raise OptionError(f"workers is {self.workers}", "give 1 to 8")
        if self.guard < 0 or self.guard % 16:
            raise OptionError(f"guard is {self.guard} bytes", "give a multiple of 16")
        for choice in self.tiles:
            if choice.rows < 0 or choice.columns < 0 or not (choice.rows or choice.columns):
                raise OptionError(
                    f"tiles: '{choice.layer}' has {choice.rows} rows and {choice.columns} columns",
                    "give numbers from 1 on, or 0 for one that the compiler is to choose",
                )
        if len({choice.layer for choice in self.tiles}) < len(self.tiles):
            raise OptionError("tiles: a layer is named twice", "name it once")


@dataclass(frozen=True)
class TensorEntry:
    """A tensor and where it lives: ``nbytes`` at ``offset`` in a memory region."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    kind: Kind
    region: Region
    offset: int
    nbytes: int
    #: the ONNX initializer a parameter comes from
    origin: Origin | None = None
    #: whether Program ``apply`` updates it
    trained: bool = False


@dataclass(frozen=True)
class TileEntry:
    """How a kernel call goes through L1; with no rows it does not, and works from the large memory."""

    rows: int
    columns: int
    #: bytes of L1 that it needs, and what they hold
    l1: int
    buffers: str
    #: what goes round inside what, and what the workers share
    order: str
    #: cycles expected of the workers alone, of the DMA alone, of the whole call
    compute: int
    dma: int
    cycles: int
    #: whether the user chose it
    asked: bool

    @property
    def bound(self) -> str:
        """What the call waits for: ``compute`` or ``DMA``."""
        return "DMA" if self.dma > self.compute else "compute"


@dataclass(frozen=True)
class CallEntry:
    """One kernel call of a Program."""

    #: C function without the ``mct_`` prefix
    kernel: str
    #: layer shown to people, and its operator
    node: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: rule by which dot products accumulate (numerics.md), or empty
    accumulation: str = ""
    macs: int = 0
    #: None where the kernel has no choice of tiles
    tile: TileEntry | None = None


@dataclass(frozen=True)
class ProgramEntry:
    """One Program; its position in the manifest is its number in the firmware."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[CallEntry, ...]
    #: tensors that live inside one run of this Program only
    activations: tuple[TensorEntry, ...] = ()


@dataclass(frozen=True)
class LayerEntry:
    """One layer of the model, for people."""

    name: str
    op: str
    output: tuple[int, ...]
    parameters: int
    macs_forward: int
    macs_backward: int
    trained: bool


@dataclass(frozen=True)
class MemoryEntry:
    """Where the bytes go: peak of data and arena by purpose."""

    #: parameters and constants (master weights included)
    weights: int
    gradients: int
    #: momentum, loss scale and its counters, and what unlearning keeps
    optimizer: int
    #: inputs the host writes
    inputs: int
    #: peak of activations and workspaces together, over all Programs
    scratch: int
    #: largest workspace of a call, all workers together (part of scratch)
    workspace: int
    #: bytes the target has for data and arena, 0 when it has no limit
    available: int


@dataclass(frozen=True)
class Manifest:
    """A build, described for its driver."""

    name: str
    options: Options
    #: persistent tensors
    tensors: tuple[TensorEntry, ...]
    programs: tuple[ProgramEntry, ...]
    layers: tuple[LayerEntry, ...]
    memory: MemoryEntry
    data_size: int
    arena_size: int
    #: SHA-256 of the initial contents of the data region
    data_sha256: str
    format: int = FORMAT
    numerics: int = NUMERICS
    build_id: str = field(default="", compare=False)

    @cached_property
    def _tensors(self) -> dict[str, TensorEntry]:
        return {t.name: t for t in self.tensors}

    @cached_property
    def _programs(self) -> dict[str, int]:
        return {p.name: i for i, p in enumerate(self.programs)}

    @cached_property
    def _activations(self) -> dict[str, dict[str, TensorEntry]]:
        return {p.name: {t.name: t for t in p.activations} for p in self.programs}

    def program_index(self, name: str) -> int:
        """Number of a Program; raises BuildError when this build has none of that name."""
        if name not in self._programs:
            known = ", ".join(self._programs)
            hint = "compile it anew, unlearning Programs with --unlearn"
            if self.options.loss is None:
                hint = "compile with --loss"
            raise BuildError(f"build '{self.name}' has no Program '{name}' (it has {known})", hint)
        return self._programs[name]

    def program(self, name: str) -> ProgramEntry:
        return self.programs[self.program_index(name)]

    def tensor(self, name: str, program: str | None = None) -> TensorEntry:
        """A persistent tensor, or an activation of ``program``; raises BuildError when unknown."""
        entry = self._tensors.get(name)
        if entry is None and program is not None:
            entry = self._activations.get(program, {}).get(name)
        if entry is None:
            where = f"Program '{program}'" if program else "the persistent tensors"
            raise BuildError(
                f"build '{self.name}': there is no tensor '{name}' in {where}", "see mcutrain info"
            )
        return entry

    def parameters(self) -> list[TensorEntry]:
        """The model's weights and biases."""
        return [t for t in self.tensors if t.kind == "parameter"]

    def trained(self) -> list[TensorEntry]:
        """The parameters that training changes."""
        return [t for t in self.tensors if t.trained]

    def sealed(self) -> Manifest:
        """The same manifest with its ``build_id``."""
        return replace(self, build_id=hashlib.sha256(_canonical(self)).hexdigest())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = FILE_NAME) -> Manifest:
        """Parse and check; raises BuildError naming ``source`` and the field."""
        try:
            value = parse_json(text)
        except ValueError as error:
            raise BuildError(f"{source} is not JSON: {error}", "compile the model again") from None
        if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
            raise BuildError(
                f"{source} has format {value['format']}, this mcutrain reads {FORMAT}",
                "compile the model again with this version",
            )
        manifest: Manifest = _decode(cls, value, source)
        if manifest.numerics != NUMERICS:
            raise BuildError(
                f"{source} was built for numerics {manifest.numerics}, this mcutrain computes {NUMERICS}",
                "compile the model again with this version",
            )
        if manifest.build_id != manifest.sealed().build_id:
            raise BuildError(f"{source} was changed after the build", "compile the model again")
        return manifest

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of a build directory; raises BuildError."""
        path = directory / FILE_NAME
        try:
            return cls.from_json(path.read_text("utf-8"), str(path))
        except UnicodeDecodeError:
            raise BuildError(f"{path} is not text", "compile the model again") from None
        except OSError as error:
            raise BuildError(
                f"{directory} is not a build: {path.name}: {error.strerror}",
                "name a directory made by 'mcutrain compile'",
            ) from None


def _canonical(manifest: Manifest) -> bytes:
    value = asdict(manifest)
    del value["build_id"]
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _decode(expected: Any, value: Any, where: str) -> Any:
    """``value`` from JSON as the annotated type ``expected``; raises BuildError naming ``where``."""
    origin, arguments = get_origin(expected), get_args(expected)
    if is_dataclass(expected):
        return _decode_dataclass(expected, value, where)
    if origin in (Union, UnionType):
        if value is None and type(None) in arguments:
            return None
        (expected,) = (a for a in arguments if a is not type(None))
        return _decode(expected, value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise _mismatch(where, f"one of {', '.join(map(str, arguments))}", value)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        raise _mismatch(where, "a list", value)
    if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
        return value
    raise _mismatch(where, expected.__name__, value)


def _decode_dataclass(expected: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _mismatch(where, "an object", value)
    known = {f.name for f in fields(expected)}
    hints = get_type_hints(expected)
    for name in sorted(known ^ set(value)):
        what = "missing" if name in known else "unknown"
        raise BuildError(f"{where}: field '{name}' is {what}", "compile the model again with this version")
    return expected(**{name: _decode(hints[name], value[name], f"{where}: {name}") for name in value})


def _mismatch(where: str, expected: str, value: Any) -> BuildError:
    return BuildError(
        f"{where}: expected {expected}, found {json.dumps(value)[:40]}", "compile the model again"
    )
