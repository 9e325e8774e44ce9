"""Code generation: Programs with addresses become C source and a weights image.

The output depends on the Programs and nothing else: the same input gives the
same bytes on every machine and in every run.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np

from mcutrain.compiler.passes.memory import Plan
from mcutrain.errors import GraphError
from mcutrain.ir import NUMPY_DTYPES, Node, Placement, Program
from mcutrain.ops import KernelCall, Pointer, op_for
from mcutrain.ops.base import FieldValue
from mcutrain.targets import resources


@dataclass(frozen=True)
class Call:
    """One kernel call: the node it computes and its arguments before they have addresses."""

    #: position of the node in the Program's graph
    index: int
    node: Node
    kernel: KernelCall


@dataclass(frozen=True)
class Sources:
    """A generated project."""

    #: file name to contents, in a fixed order
    files: dict[str, bytes]
    #: kernel files to compile: (stem, element type), sorted
    kernels: tuple[tuple[str, str], ...]


@dataclass
class _Structures:
    """Argument structures in order of first use; equal ones are shared."""

    rendered: dict[tuple[str, tuple[tuple[str, str], ...]], str] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)

    def add(self, kernel: str, fields: tuple[tuple[str, str], ...], comment: str) -> str:
        name = self.rendered.setdefault((kernel, fields), f"arguments_{len(self.rendered)}")
        self.comments.setdefault(name, comment)
        return name


def kernel_calls(program: Program) -> list[Call]:
    """The kernel calls of a Program in order; views have none."""
    calls = []
    graph = program.graph
    for index, node in enumerate(graph.nodes):
        inputs, outputs = graph.input_tensors(node), graph.output_tensors(node)
        kernel = op_for(node.op).kernel(node, inputs, outputs)
        if kernel is not None:
            calls.append(Call(index, node, kernel))
    return calls


def data_image(plan: Plan) -> bytes:
    """Initial contents of region ``data``: little-endian, zeros between tensors."""
    image = np.zeros(plan.data_size, dtype=np.uint8)
    written: set[str] = set()
    for program in plan.programs:
        for tensor in program.graph.tensors.values():
            if tensor.data is None or not tensor.persistent or tensor.name in written:
                continue
            written.add(tensor.name)
            dtype = np.dtype(NUMPY_DTYPES[tensor.dtype])
            if tensor.data.shape != tensor.shape or tensor.data.dtype != dtype:
                raise GraphError(
                    f"tensor '{tensor.name}': its data is {tensor.data.dtype}{tensor.data.shape},"
                    f" not {tensor.dtype}{tensor.shape}",
                    "report this as a bug",
                )
            values = np.ascontiguousarray(tensor.data, dtype=dtype.newbyteorder("<"))
            start = plan.persistent[tensor.name].offset
            image[start : start + tensor.nbytes] = np.frombuffer(values.tobytes(), dtype=np.uint8)
    return image.tobytes()


def emit(name: str, plan: Plan, image: bytes, build_id: str, workers: int) -> Sources:
    """The C project of a build.

    Args:
        name: of the model, for comments.
        plan: Programs and their placements.
        image: :func:`data_image` of the plan.
        build_id: SHA-256 in hexadecimal that the manifest carries.
        workers: cores that share the work.
    """
    structures = _Structures()
    used: set[tuple[str, str]] = set()
    programs = []
    for program in plan.programs:
        rows = []
        for call in kernel_calls(program):
            kernel = call.kernel
            used.add((kernel.kernel, kernel.dtype))
            fields = tuple((field, _literal(value, program, call)) for field, value in kernel.fields.items())
            comment = _comment(f"{program.name}: {call.node.name or call.node.op}")
            rows.append(
                {
                    "function": f"{kernel.kernel}_{kernel.dtype}",
                    "structure": structures.add(kernel.kernel, fields, comment),
                    "comment": _comment(f"{call.node.op} {call.node.name}".rstrip()),
                }
            )
        programs.append({"name": program.name, "calls": rows})
    environment = _environment()
    model = environment.get_template("model.c.j2").render(
        name=_comment(name),
        kernels=sorted({stem for stem, _ in used}),
        data_size=plan.data_size,
        arena_size=plan.arena_size,
        build_id=[f"0x{byte:02x}" for byte in bytes.fromhex(build_id)],
        workers=workers,
        structures=[
            {"name": label, "kernel": kernel, "fields": fields, "comment": structures.comments[label]}
            for (kernel, fields), label in structures.rendered.items()
        ],
        programs=programs,
    )
    weights = environment.get_template("weights.S.j2").render(
        name=_comment(name), size=len(image), sha256=hashlib.sha256(image).hexdigest()
    )
    files = {"model.c": model.encode(), "weights.S": weights.encode(), "weights.bin": image}
    return Sources(files, tuple(sorted(used)))


def write_sources(sources: Sources, directory: Path) -> None:
    """Write the generated files into a new directory."""
    directory.mkdir()
    for name, contents in sources.files.items():
        (directory / name).write_bytes(contents)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources() / "codegen"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _literal(value: FieldValue, program: Program, call: Call) -> str:
    """A field's value as a C expression."""
    if isinstance(value, Pointer):
        return _address(value, program, call)
    if isinstance(value, (bool, int, np.integer)):
        return _integer(int(value))
    if isinstance(value, (float, np.floating)):
        return float_literal(float(value))
    if isinstance(value, tuple):
        return "{" + ", ".join(_integer(int(item)) for item in value) + "}"
    return value


def _integer(value: int) -> str:
    return f"{value}u" if value > 0x7FFFFFFF else str(value)


def float_literal(value: float) -> str:
    """An exact C literal of the binary32 value nearest to ``value``."""
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    if math.isnan(single):
        return '__builtin_nanf("")'
    if math.isinf(single):
        return "-__builtin_inff()" if single < 0 else "__builtin_inff()"
    return f"{single.hex()}f"


def _address(pointer: Pointer, program: Program, call: Call) -> str:
    if not pointer.tensor:
        return "0"
    key = f"workspace:{call.index}" if pointer.tensor == "workspace" else pointer.tensor
    placement: Placement | None = program.placements.get(key)
    if placement is None:
        if pointer.tensor == "workspace":
            return "0"
        raise GraphError(f"Program '{program.name}': '{key}' has no address", "report this as a bug")
    return f"(void *)(mct_{placement.region} + {placement.offset})"


def _comment(text: str) -> str:
    """Text that cannot end a C comment, and stays on its line."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *")
