"""What an operator is: one class with its types, its bits, its gradient and its kernel.

A class registered here is found by its name, which is the ``op`` of a node.
The four questions every operator answers are the methods of :class:`Op`;
everything above (autodiff, lowering, the NumPy reference, code generation)
asks them and knows nothing else about operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from mcutrain.errors import GraphError, UnsupportedError
from mcutrain.ir import Array, DType, Node, Tensor

Shape: TypeAlias = tuple[int, ...]
#: Shape and element type of one output.
TensorType: TypeAlias = tuple[Shape, DType]


@dataclass(frozen=True)
class Pointer:
    """The address of a tensor, or of the call's workspace (``Pointer('workspace')``).

    The empty name is the null pointer of an absent optional operand.
    """

    tensor: str


#: int and bool become integer literals, float an exact hexadecimal literal,
#: str is C source as it is, a tuple an initializer list.
FieldValue: TypeAlias = int | float | str | Pointer | tuple[int, ...]


@dataclass(frozen=True)
class KernelCall:
    """One call of ``kernels/<kernel>.c``: function ``mct_<kernel>_<dtype>`` on ``struct mct_<kernel>``.

    ``fields`` fills the structure by name, in any order.
    """

    kernel: str
    #: element type the kernel file is compiled for, ``f16`` or ``f32``
    dtype: str
    fields: Mapping[str, FieldValue] = field(default_factory=dict)


class GradientBuilder(Protocol):
    """What a gradient rule may do to the graph under construction."""

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        node: Node,
        dtype: DType | None = None,
        out: str | None = None,
    ) -> str:
        """Append a node on behalf of ``node`` and return its (first) output.

        The output type is inferred, ``dtype`` overrides its element type;
        ``out`` names a persistent tensor that is updated in place.
        """

    def needs(self, name: str) -> bool:
        """Whether a gradient with respect to this tensor is wanted (trained parameters included)."""

    def accumulator(self, param: str) -> str:
        """The f32 state tensor that collects a trained parameter's gradient."""

    def accumulate(self, name: str, grad: str) -> None:
        """Add a contribution to an activation's gradient; several are summed in order."""

    def is_parameter(self, name: str) -> bool:
        """Whether the tensor is a parameter of the model."""

    def tensor(self, name: str) -> Tensor:
        """The tensor of this name."""


class Op:
    """One operator; subclasses override what differs.

    ``inputs`` follow ``node.inputs``, None for an absent optional input;
    ``outputs`` follow ``node.outputs``.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        """Shape and element type of each output; raises GraphError naming the node."""
        raise NotImplementedError

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        """The outputs' exact bits, in the outputs' shapes and element types; inputs are not changed."""
        raise NotImplementedError

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        """Emit the gradients of the inputs that ``g.needs`` from those of the outputs."""
        raise UnsupportedError(
            f"node '{node.name or node.op}': {node.op} has no gradient",
            "freeze the layers before it with --train",
        )

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall | None:
        """The kernel call, or None for a view that costs nothing."""
        raise NotImplementedError

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        """Scratch bytes per worker, a multiple of 16."""
        return 0

    def accumulation(self, node: Node, dtype: str) -> str:
        """Rule of numerics.md by which dot products accumulate: ``pair-f32``, ``seq-f32`` or none."""
        return ""

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        """Multiply-accumulate operations of one call."""
        return 0


_OPERATORS: dict[str, Op] = {}
_OpClass = TypeVar("_OpClass", bound=type[Op])


def register(cls: _OpClass) -> _OpClass:
    """Class decorator: make an operator known by its class name."""
    _OPERATORS[cls.__name__] = cls()
    return cls


def op_for(name: str) -> Op:
    """The operator called ``name``; raises GraphError when there is none."""
    try:
        return _OPERATORS[name]
    except KeyError:
        raise GraphError(f"there is no operator '{name}'", "report this as a bug") from None


def operator_names() -> list[str]:
    """Names of all operators, sorted."""
    return sorted(_OPERATORS)


def pointer(tensor: Tensor | None) -> Pointer:
    """The address of an operand, null when it is absent."""
    return Pointer(tensor.name if tensor is not None else "")


def pointers(**tensors: Tensor | None) -> dict[str, FieldValue]:
    """Fields of a kernel's structure by name; no tensor is a null pointer."""
    return {name: pointer(tensor) for name, tensor in tensors.items()}


def required(node: Node, inputs: Sequence[Tensor | None], index: int) -> Tensor:
    """Input ``index``, which the operator cannot do without; raises GraphError."""
    tensor = inputs[index] if index < len(inputs) else None
    if tensor is None:
        raise GraphError(
            f"node '{node.name or node.op}': {node.op} has no input {index}", "correct the model"
        )
    return tensor


def present(inputs: Sequence[Array | None], index: int) -> Array:
    """The value of a required input."""
    value = inputs[index]
    assert value is not None
    return value


def optional(inputs: Sequence[Any], index: int) -> Any:
    """Input ``index`` or None when it is absent or not given."""
    return inputs[index] if index < len(inputs) else None


def expect(condition: bool, node: Node, reason: str, remedy: str = "correct the model") -> None:
    """Raise GraphError about ``node`` unless ``condition`` holds."""
    if not condition:
        raise GraphError(f"node '{node.name or node.op}' ({node.op}): {reason}", remedy)


def tile_fields(node: Node) -> dict[str, FieldValue]:
    """Structure fields of the tile (rows, columns) a kernel is told to work in; 0 where it chooses."""
    rows, columns = node.attrs.get("tile", (0, 0))
    return {"tile_rows": int(rows), "tile_columns": int(columns)}


def align(nbytes: int, to: int = 16) -> int:
    """``nbytes`` rounded up to a multiple of ``to``."""
    return -(-nbytes // to) * to
