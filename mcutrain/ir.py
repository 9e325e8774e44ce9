"""The intermediate representation: plain data, a verifier and a stable order.

A :class:`Graph` holds named tensors and nodes in execution order.  The same
classes describe an imported model, the graph with its gradients, and the
lowered Programs that every backend runs.  Nothing here knows how an operator
computes; that is :mod:`mcutrain.ops`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mcutrain.errors import GraphError

DType = Literal["f16", "f32", "i32", "i8", "u8"]
Array = npt.NDArray[Any]

#: NumPy type of each element type.
NUMPY_DTYPES: dict[str, type[np.generic]] = {
    "f16": np.float16,
    "f32": np.float32,
    "i32": np.int32,
    "i8": np.int8,
    "u8": np.uint8,
}
#: Bytes of one element.
ITEM_SIZES: dict[str, int] = {"f16": 2, "f32": 4, "i32": 4, "i8": 1, "u8": 1}

#: What a tensor is for; it decides where the tensor lives and for how long.
#:
#: input       written by the host before a Program runs, kept until written again
#: parameter   a weight or bias of the model, with initial data; trained or frozen
#: constant    data the Program reads and never writes
#: state       kept between Programs (gradient accumulators, momentum, loss scale)
#: activation  produced and consumed inside one Program
Kind = Literal["input", "parameter", "constant", "state", "activation"]
PERSISTENT_KINDS: frozenset[str] = frozenset({"input", "parameter", "constant", "state"})


@dataclass(frozen=True)
class LayoutStep:
    """One step from an ONNX initializer's layout towards the device's."""

    kind: Literal["transpose", "reshape"]
    #: permutation or shape
    value: tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """Where a parameter comes from in the ONNX model.

    ``steps`` lead from the ONNX array (``shape``) to the device array;
    :meth:`to_device` and :meth:`to_onnx` apply them and their inverse.
    """

    initializer: str
    shape: tuple[int, ...]
    steps: tuple[LayoutStep, ...] = ()

    def to_device(self, array: Array) -> Array:
        for step in self.steps:
            array = array.transpose(step.value) if step.kind == "transpose" else array.reshape(step.value)
        return np.ascontiguousarray(array)

    def to_onnx(self, array: Array) -> Array:
        shapes = [self.shape]
        for step in self.steps:
            shape = shapes[-1]
            shapes.append(tuple(shape[i] for i in step.value) if step.kind == "transpose" else step.value)
        for step, shape in zip(reversed(self.steps), reversed(shapes[:-1]), strict=True):
            if step.kind == "transpose":
                array = array.transpose(tuple(int(i) for i in np.argsort(step.value)))
            else:
                array = array.reshape(shape)
        return np.ascontiguousarray(array.reshape(self.shape))


@dataclass(frozen=True)
class Tensor:
    """A named array: shape and element type are always static."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    kind: Kind = "activation"
    #: initial value (parameter, constant, state), in this tensor's shape and dtype
    data: Array | None = field(default=None, compare=False)
    origin: Origin | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * ITEM_SIZES[self.dtype]

    @property
    def persistent(self) -> bool:
        return self.kind in PERSISTENT_KINDS


@dataclass(frozen=True)
class Node:
    """One operator application.

    An output that is also an input is updated in place.  An absent optional
    input is the empty string.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    #: layer name shown to people (``conv3``), with a suffix for its gradients
    name: str = ""
    #: name of the ONNX node it comes from
    source: str = ""

    def with_attrs(self, **attrs: Any) -> Node:
        return replace(self, attrs={**self.attrs, **attrs})

    def renamed(self, names: Mapping[str, str]) -> Node:
        """The node on other operands: those of ``names`` by their new name."""
        return replace(
            self,
            inputs=tuple(names.get(n, n) for n in self.inputs),
            outputs=tuple(names.get(n, n) for n in self.outputs),
        )


@dataclass
class Graph:
    """Nodes in execution order over named tensors.

    ``inputs`` and ``outputs`` are tensor names in a fixed order.
    """

    name: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def copy(self) -> Graph:
        return Graph(self.name, list(self.inputs), list(self.outputs), list(self.nodes), dict(self.tensors))

    def add_tensor(self, tensor: Tensor) -> Tensor:
        known = self.tensors.get(tensor.name)
        if known is not None and known != tensor:
            raise GraphError(
                f"tensor '{tensor.name}' is defined twice with different types", "report this as a bug"
            )
        self.tensors[tensor.name] = tensor
        return tensor

    def unique_name(self, stem: str) -> str:
        """A tensor name that is not taken: ``stem``, ``stem.1``, ``stem.2`` …"""
        name, n = stem, 0
        while name in self.tensors:
            n += 1
            name = f"{stem}.{n}"
        return name

    def producers(self) -> dict[str, Node]:
        """The node that first writes each tensor."""
        made: dict[str, Node] = {}
        for node in self.nodes:
            for out in node.outputs:
                made.setdefault(out, node)
        return made

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, in execution order."""
        uses: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    uses[name].append(node)
        return uses

    def input_tensors(self, node: Node) -> list[Tensor | None]:
        return [self.tensors[n] if n else None for n in node.inputs]

    def output_tensors(self, node: Node) -> list[Tensor]:
        return [self.tensors[n] for n in node.outputs]

    def used_tensors(self) -> Iterator[Tensor]:
        """Tensors that a node, an input or an output names, in first-use order."""
        seen: dict[str, None] = dict.fromkeys(self.inputs)
        for node in self.nodes:
            seen.update(dict.fromkeys(n for n in (*node.inputs, *node.outputs) if n))
        seen.update(dict.fromkeys(self.outputs))
        return (self.tensors[name] for name in seen)


def verify(graph: Graph) -> None:
    """Check that every name is known, every read is defined before, every
    activation is written once but for updates in place, and constants never.

    Raises GraphError naming the node and tensor.
    """
    defined = {t.name for t in graph.tensors.values() if t.persistent}
    for name in graph.inputs:
        if name not in graph.tensors:
            raise GraphError(f"graph '{graph.name}': input '{name}' is not a tensor", "report this as a bug")
        defined.add(name)
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in defined:
                who = node.name or node.op
                raise GraphError(
                    f"graph '{graph.name}': node '{who}' reads '{name}' before it is written",
                    "the model's nodes must be in topological order",
                )
        for name in node.outputs:
            tensor = graph.tensors.get(name)
            if tensor is None:
                raise GraphError(f"graph '{graph.name}': '{name}' has no type", "report this as a bug")
            if name in defined and not tensor.persistent and name not in node.inputs:
                raise GraphError(f"graph '{graph.name}': '{name}' is written twice", "report this as a bug")
            if tensor.kind == "constant":
                raise GraphError(
                    f"graph '{graph.name}': constant '{name}' is written", "report this as a bug"
                )
            defined.add(name)
    for name in graph.outputs:
        if name not in defined:
            raise GraphError(
                f"graph '{graph.name}': output '{name}' is never written", "report this as a bug"
            )


def prune(graph: Graph, keep: Iterable[str] = ()) -> Graph:
    """Drop nodes whose results reach neither an output, a persistent tensor nor ``keep``."""
    needed = set(graph.outputs) | set(keep)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(out in needed or graph.tensors[out].persistent for out in node.outputs):
            kept.append(node)
            needed.update(n for n in node.inputs if n)
    pruned = graph.copy()
    pruned.nodes = kept[::-1]
    pruned.tensors = {t.name: t for t in pruned.used_tensors()}
    return pruned


@dataclass(frozen=True)
class Placement:
    """Where a tensor lives: a memory region and a byte offset in it.

    Region ``data`` holds parameters and constants and is part of the image;
    region ``arena`` holds everything else and starts as zeros (state tensors
    with data are in ``data``).
    """

    region: Literal["data", "arena"]
    offset: int


@dataclass
class Program:
    """A lowered Program: a verified graph whose nodes are kernel calls in order.

    ``placements`` maps every tensor (and ``workspace:<call index>``) to memory.
    """

    graph: Graph
    placements: dict[str, Placement] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.graph.name
