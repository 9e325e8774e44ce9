"""Run one kernel natively between guard bytes and compare it with the operator's ``compute``, bit for bit.

``check_kernel`` is all a test needs.  A kernel is compiled once per element
type into a shared library, cached by the content of its sources; the call's
structure is laid out from ``struct mct_<stem>`` in its header.

``MCUTRAIN_KERNEL_CC`` names another compiler with flags, e.g.
``gcc -O1 -g -fsanitize=address,undefined`` (run under LD_PRELOAD=libasan.so).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mcutrain.ops  # noqa: F401 - registers the operators
from mcutrain.executor import same_bits
from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.ops.base import KernelCall, Pointer, op_for

KERNELS = Path(__file__).parent.parent / "kernels"
WORKERS = (1, 2, 3, 8)
#: All ones is NaN in both float types, so a value read from a guard shows in the result.
GUARD_BYTE = 0xFF
GUARD = 64

_DTYPE_NAMES: dict[str, str] = {np.dtype(t).name: name for name, t in NUMPY_DTYPES.items()}
_FLAGS = "-O2 -Wall -Wextra -Werror -ffp-contract=off"


def check_kernel(
    op_name: str,
    inputs: Sequence[Array | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    inplace: Mapping[int, int] | None = None,
    out_dtypes: Sequence[str] | None = None,
    workers: Sequence[int] = WORKERS,
    allow_nan: bool = False,
) -> list[Array]:
    """Assert that the C kernel gives ``op.compute``'s bits for every number of workers; return them.

    inplace:    {output index: input index} for operands updated in place
    out_dtypes: element types of the outputs where they differ from ``infer``
    """
    op = op_for(op_name)
    node, tensors, outputs = _node(op_name, inputs, attrs, inplace or {}, out_dtypes)
    before = [None if v is None else v.copy() for v in inputs]
    expected = op.compute(node, list(inputs), outputs)
    for value, kept in zip(inputs, before, strict=True):
        assert value is None or same_bits(value, kept), f"{op_name}.compute changes its inputs"
    for value, tensor in zip(expected, outputs, strict=True):
        assert value.shape == tensor.shape, f"{op_name}.compute: shape {value.shape}, inferred {tensor.shape}"
        assert value.dtype == NUMPY_DTYPES[tensor.dtype], (
            f"{op_name}.compute: {value.dtype}, not {tensor.dtype}"
        )
        assert allow_nan or not np.isnan(value).any(), f"{op_name}.compute gives NaN"

    call = op.kernel(node, tensors, outputs)
    assert call is not None, f"{op_name} has no kernel"
    stride = op.workspace(node, tensors, outputs)
    assert stride % 16 == 0, f"{op_name}.workspace is {stride}, not a multiple of 16"
    values = {n: v for n, v in zip(node.inputs, inputs, strict=True) if v is not None}
    for team in workers:
        buffers = _buffers(values, outputs, stride * team)
        run_kernel(call, buffers, team)
        shapes = [getattr(value, "shape", None) for value in inputs]
        where = f"{op_name} with {team} workers, attrs {node.attrs}, shapes {shapes}"
        for name, buffer in buffers.items():
            assert buffer.guards_intact(), f"{where}: bytes outside '{name}' were written"
        for name, value in values.items():
            if name not in node.outputs:
                assert same_bits(buffers[name].array(value), value), f"{where}: input '{name}' was written"
        for value, tensor in zip(expected, outputs, strict=True):
            _assert_same(buffers[tensor.name].array(value), value, f"{where}: '{tensor.name}'")
    return expected


def shares(
    op_name: str,
    inputs: Sequence[Array | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    inplace: Mapping[int, int] | None = None,
    workers: int = 8,
) -> list[Array]:
    """For each worker, which elements of the first output it writes when it alone runs.

    An output that is updated in place must change in every element.
    """
    op = op_for(op_name)
    node, tensors, outputs = _node(op_name, inputs, attrs, inplace or {})
    call = op.kernel(node, tensors, outputs)
    assert call is not None, f"{op_name} has no kernel"
    values = {n: v for n, v in zip(node.inputs, inputs, strict=True) if v is not None}
    written = []
    for worker in range(workers):
        buffers = _buffers(values, outputs, op.workspace(node, tensors, outputs) * workers)
        like = np.zeros(outputs[0].shape, f"u{np.dtype(NUMPY_DTYPES[outputs[0].dtype]).itemsize}")
        before = buffers[outputs[0].name].array(like)
        run_kernel(call, buffers, workers, only=worker)
        written.append(buffers[outputs[0].name].array(like) != before)
    return written


def _node(
    op_name: str,
    inputs: Sequence[Array | None],
    attrs: Mapping[str, Any] | None,
    inplace: Mapping[int, int],
    out_dtypes: Sequence[str] | None = None,
) -> tuple[Node, list[Tensor | None], list[Tensor]]:
    """The node on these inputs, and the tensors of its inputs and outputs."""
    names = ["" if value is None else f"in{i}" for i, value in enumerate(inputs)]
    node = Node(op_name, tuple(names), (), dict(attrs or {}), name=op_name.lower())
    kinds = dict.fromkeys(inplace.values(), "state")
    tensors = [
        None if v is None else Tensor(n, v.shape, _DTYPE_NAMES[v.dtype.name], kinds.get(i, "activation"))  # type: ignore[arg-type]
        for i, (n, v) in enumerate(zip(names, inputs, strict=True))
    ]
    outputs = []
    for i, (shape, dtype) in enumerate(op_for(op_name).infer(node, tensors)):
        name = names[inplace[i]] if i in inplace else f"out{i}"
        outputs.append(Tensor(name, tuple(shape), out_dtypes[i] if out_dtypes else dtype))  # type: ignore[arg-type]
    return replace(node, outputs=tuple(t.name for t in outputs)), tensors, outputs


def _buffers(values: Mapping[str, Array], outputs: Sequence[Tensor], workspace: int) -> dict[str, _Buffer]:
    """Memory of a call: inputs with their values, outputs and workspace unwritten."""
    buffers = {n: _Buffer(v.nbytes, v) for n, v in values.items()}
    for tensor in outputs:
        buffers.setdefault(tensor.name, _Buffer(tensor.nbytes))
    buffers["workspace"] = _Buffer(workspace)
    return buffers


def run_kernel(
    call: KernelCall, buffers: Mapping[str, _Buffer], workers: int, only: int | None = None
) -> None:
    """Run the kernel's workers one after another, or ``only`` one, on ``buffers``.

    Buffers go by tensor name, and 'workspace'.
    """
    library, _ = _load(call.kernel, call.dtype)
    args = arguments(call, buffers)
    function = getattr(library, f"mct_{call.kernel}_{call.dtype}")
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
    function.restype = None
    for worker in range(workers) if only is None else (only,):
        function(ctypes.byref(args), worker, workers)


def arguments(call: KernelCall, buffers: Mapping[str, _Buffer]) -> ctypes.Structure:
    """The call's structure, with the buffers' addresses."""
    structure = _structure(call.kernel)
    args = structure()
    known = {name for name, _ in structure._fields_}
    assert set(call.fields) == known, (
        f"{call.kernel}: fields {sorted(set(call.fields) ^ known)} do not match the header"
    )
    for name, value in call.fields.items():
        if isinstance(value, Pointer):
            setattr(args, name, buffers[value.tensor].address if value.tensor else None)
        elif isinstance(value, tuple):
            getattr(args, name)[: len(value)] = value
        else:
            setattr(args, name, value)
    return args


class _Buffer:
    """Bytes at a 16-byte boundary (NumPy's own) between guard bytes, unwritten ones filled alike."""

    def __init__(self, nbytes: int, value: Array | None = None) -> None:
        # under a sanitizer the ends of the allocation itself are the guard
        guard = 0 if _sanitized() else GUARD
        self.memory = np.full(nbytes + 2 * guard, GUARD_BYTE, np.uint8)
        self.first = guard
        self.nbytes = nbytes
        if value is not None:
            self.memory[self.first : self.first + nbytes] = np.frombuffer(value.tobytes(), np.uint8)

    @property
    def address(self) -> int:
        return int(self.memory.ctypes.data) + self.first

    def array(self, like: Array) -> Array:
        return np.frombuffer(
            self.memory[self.first : self.first + self.nbytes].tobytes(), like.dtype
        ).reshape(like.shape)

    def guards_intact(self) -> bool:
        outside = np.ones(len(self.memory), bool)
        outside[self.first : self.first + self.nbytes] = False
        return bool((self.memory[outside] == GUARD_BYTE).all())


def _assert_same(got: Array, want: Array, what: str) -> None:
    if not same_bits(got, want):
        kind = f"u{want.itemsize}"
        differ = np.ascontiguousarray(got).view(kind) != np.ascontiguousarray(want).view(kind)
        index = tuple(int(i) for i in np.argwhere(differ)[0])
        raise AssertionError(
            f"{what}: {int(differ.sum())} of {differ.size} elements differ, first {index}: "
            f"kernel {got[index]!r}, reference {want[index]!r}"
        )


def _sanitized() -> bool:
    return "-fsanitize" in os.environ.get("MCUTRAIN_KERNEL_CC", "")


@functools.cache
def _load(stem: str, dtype: str) -> tuple[ctypes.CDLL, type[ctypes.Structure]]:
    return ctypes.CDLL(str(compile_source(KERNELS / f"{stem}.c", dtype))), _structure(stem)


def compile_source(source: Path, dtype: str) -> Path:
    """The shared library made of one C file for an element type."""
    command = shlex.split(os.environ.get("MCUTRAIN_KERNEL_CC", "")) or [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-mcpu=native",
    ]
    command += [*_FLAGS.split(), f"-DMCT_ELEM={dtype[1:]}", "-shared", "-fPIC"]
    digest = hashlib.sha256("\0".join(command).encode())
    for path in [source, *sorted(KERNELS.rglob("*.h"))]:
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"mcutrain-test-kernels-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    library = folder / f"{source.stem}_{dtype}-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, str(source), "-o", str(partial)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{source.name} for {dtype} does not compile:\n{done.stderr}"
        partial.replace(library)
    return library


_C_TYPES: dict[str, Any] = {
    "uint8_t": ctypes.c_uint8,
    "int8_t": ctypes.c_int8,
    "uint16_t": ctypes.c_uint16,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "bool": ctypes.c_bool,
    "float": ctypes.c_float,
}


@functools.cache
def _structure(stem: str) -> type[ctypes.Structure]:
    """ctypes layout of ``struct mct_<stem>``: scalars, arrays of constant or #defined length, pointers."""
    texts = [
        re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for path in (KERNELS / f"{stem}.h", *sorted(KERNELS.glob("*.h")))
    ]
    found = re.search(rf"struct mct_{stem} \{{(.*?)\}};", texts[0], re.S)
    assert found, f"{stem}.h has no struct mct_{stem}"
    defines = {
        n: int(v) for text in texts for n, v in re.findall(r"(?:#define\s+|\b)(MCT_\w+)\s+=?\s*(\d+)", text)
    }
    fields: list[tuple[str, Any]] = []
    for declaration in filter(None, (d.strip() for d in found[1].split(";"))):
        kind, declarators = re.match(r"((?:const\s+)?\w+)\s*(.*)", declaration, re.S).groups()  # type: ignore[union-attr]
        for declarator in declarators.split(","):
            match = re.fullmatch(r"\s*(\*?)\s*(?:const\s+)?(\w+)\s*(?:\[(\w+)\])?\s*", declarator)
            assert match, f"{stem}.h: cannot read '{declaration}'"
            star, name, length = match.groups()
            c_type = ctypes.c_void_p if star else _C_TYPES[kind.replace("const", "").strip()]
            if length:
                c_type = c_type * (int(length) if length.isdigit() else defines[length])
            fields.append((name, c_type))
    return type(f"mct_{stem}", (ctypes.Structure,), {"_fields_": fields})
