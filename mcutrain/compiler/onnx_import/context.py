"""State of one import and what operator handlers use: values, constants, graph building.

A handler is a function ``(importer, node)`` registered with :func:`handles`.
It binds each of the node's outputs to an activation (a tensor of the graph) or
to a :class:`Static` value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from mcutrain.errors import ModelError, UnsupportedError
from mcutrain.ir import Array, Graph, LayoutStep, Node, Origin, Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Static:
    """A value known at compile time.

    ``origin`` leads from the initializer (or folded node output) it comes from
    to ``array``; ``literal`` marks values written into the model by a Constant
    node or computed from such, which are never trained where an initializer
    would be.  ``depends`` are the float initializers it was computed from.
    """

    array: Array
    origin: Origin
    literal: bool = False
    depends: frozenset[str] = frozenset()


class OnnxNode:
    """One node of the model: attributes by name, a label for messages.

    ``outputs`` that are not among the ``needed`` names count as absent.
    """

    def __init__(self, proto: onnx.NodeProto, index: int, needed: Collection[str]) -> None:
        self.proto = proto
        self.op = proto.op_type
        self.name = proto.name or next((o for o in proto.output if o), f"#{index}")
        self.inputs = list(proto.input)
        self.outputs = [name if name in needed else "" for name in proto.output]
        self.attrs = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}

    def has(self, index: int) -> bool:
        """Whether this input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def attr(self, name: str, default: Any) -> Any:
        value = self.attrs.get(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def unsupported(self, what: str, remedy: str) -> UnsupportedError:
        return UnsupportedError(f"node '{self.name}' ({self.op}): {what}", remedy)

    def invalid(self, what: str, remedy: str = "correct or export the model again") -> ModelError:
        return ModelError(f"node '{self.name}' ({self.op}): {what}", remedy)

    def require(self, condition: bool, what: str) -> None:
        """Raise ModelError unless ``condition`` holds."""
        if not condition:
            raise self.invalid(what)


Handler = Callable[["Importer", OnnxNode], None]
_HANDLERS: dict[str, Handler] = {}


def handles(*operators: str) -> Callable[[Handler], Handler]:
    """Register a handler for these ONNX operators."""

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(operators, handler))
        return handler

    return register


def handler_for(operator: str) -> Handler | None:
    return _HANDLERS.get(operator)


def supported_operators() -> list[str]:
    """ONNX operators that may be applied to activations, sorted."""
    return sorted(_HANDLERS)


class Importer:
    """The graph under construction and the values of the model's tensors.

    ``graph`` is in ONNX's layouts, with Transposes round the spatial operators.
    """

    def __init__(self, name: str, opset: int) -> None:
        self.graph = Graph(name)
        self.opset = opset
        self.values: dict[str, Static | Tensor] = {}
        #: parameter or constant tensor of each initializer in use
        self.persistent: dict[str, str] = {}
        #: initializers that went into a computed constant: training them would be half a change
        self.frozen: set[str] = set()

    # -- values -----------------------------------------------------------------------------------

    def value(self, node: OnnxNode, index: int) -> Static | Tensor:
        if not node.has(index):
            raise node.invalid(f"input {index} is missing")
        name = node.inputs[index]
        if name not in self.values:
            raise node.invalid(f"it reads '{name}', which nothing produces before it")
        return self.values[name]

    def shape(self, node: OnnxNode, index: int) -> Shape:
        value = self.value(node, index)
        return value.array.shape if isinstance(value, Static) else value.shape

    def is_static(self, node: OnnxNode, index: int) -> bool:
        return isinstance(self.value(node, index), Static)

    def static(self, node: OnnxNode, index: int, what: str) -> Array:
        """Values of an input that must be known at compile time."""
        value = self.value(node, index)
        if not isinstance(value, Static):
            raise node.unsupported(f"its {what} depends on the model's input", f"make {what} a constant")
        return value.array

    def integers(self, node: OnnxNode, index: int, what: str) -> tuple[int, ...]:
        array = self.static(node, index, what)
        node.require(array.dtype.kind in "iu" and array.ndim <= 1, f"its {what} is not a list of integers")
        return tuple(int(v) for v in np.atleast_1d(array))

    def scalar(self, node: OnnxNode, index: int, what: str) -> float:
        array = self.static(node, index, what)
        node.require(array.size == 1 and array.dtype.kind in "fiu", f"its {what} is not one number")
        return float(array.reshape(()))

    def tensor(self, node: OnnxNode, index: int, trained: bool = False) -> str:
        """Name of the tensor of an input; a static value is a parameter if ``trained``, else a constant."""
        value = self.value(node, index)
        if isinstance(value, Tensor):
            return value.name
        if value.array.dtype != np.float32:
            raise node.unsupported(
                f"input '{node.inputs[index]}' has element type {value.array.dtype}, not float32",
                "export the model in float32",
            )
        self.frozen |= value.depends
        name = self._persistent(value, trained)
        for step in value.origin.steps:
            if step.kind == "transpose":
                name = self.transpose(node, name, step.value)
            else:
                name = self.reshape(node, name, step.value)
        return name

    def _persistent(self, value: Static, trained: bool) -> str:
        """The tensor in the initializer's own layout, one for all its users."""
        key = value.origin.initializer
        if key not in self.persistent:
            name = self.graph.unique_name(f"initializer:{key}")
            data = value.origin.to_onnx(value.array)
            tensor = Tensor(
                name, value.origin.shape, "f32", "constant", data, replace(value.origin, steps=())
            )
            self.persistent[key] = self.graph.add_tensor(tensor).name
        name = self.persistent[key]
        if trained:
            self.graph.tensors[name] = replace(self.graph.tensors[name], kind="parameter")
        return name

    # -- construction -----------------------------------------------------------------------------

    def emit(self, node: OnnxNode, op: str, inputs: Sequence[str], out: Shape, **attrs: Any) -> str:
        """Append a node with one output of shape ``out``; the output's name is returned."""
        name = self.graph.unique_name(f"{node.name}:{op}")
        self.graph.add_tensor(Tensor(name, tuple(int(d) for d in out), "f32"))
        self.graph.nodes.append(Node(op, tuple(inputs), (name,), attrs, source=node.name))
        return name

    def transpose(self, node: OnnxNode, name: str, permutation: Sequence[int]) -> str:
        shape = self.graph.tensors[name].shape
        perm = tuple(permutation)
        return self.emit(node, "Transpose", [name], tuple(shape[i] for i in perm), perm=perm)

    def reshape(self, node: OnnxNode, name: str, shape: Shape) -> str:
        return self.emit(node, "Reshape", [name], shape, shape=tuple(shape))

    def constant(self, node: OnnxNode, array: Array) -> str:
        """A constant that no initializer holds."""
        name = self.graph.unique_name(f"{node.name}:constant")
        data = np.ascontiguousarray(array, np.float32)
        return self.graph.add_tensor(Tensor(name, data.shape, "f32", "constant", data)).name

    def bind(self, node: OnnxNode, name: str) -> None:
        """Let the node's first output be this tensor."""
        self.values[node.outputs[0]] = self.graph.tensors[name]

    def bind_static(
        self, node: OnnxNode, array: Array, source: Static | None, step: LayoutStep | None
    ) -> None:
        """Let the node's first output be ``source`` after ``step``, or a value of its own."""
        output = node.outputs[0]
        if source is None:
            self.values[output] = Static(array, Origin(output, array.shape), literal=True)
        else:
            steps = source.origin.steps if step is None else (*source.origin.steps, step)
            self.values[output] = replace(source, array=array, origin=replace(source.origin, steps=steps))
