"""One kernel call for all of a build's trained parameters, which the planner puts side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from mcutrain.ir import ITEM_SIZES, Array, Node, Tensor
from mcutrain.ops.base import KernelCall, Op, TensorType, align, expect, op_for, register, required
from mcutrain.ops.shape import strided_copy

#: Bytes at whose multiples the planner puts tensors; the gaps between them hold zeros.
ALIGNMENT = 16


def span(tensors: list[Tensor]) -> int:
    """Elements from the first of tensors that lie side by side to the end of the last."""
    *before, last = tensors
    return sum(align(t.nbytes, ALIGNMENT) for t in before) // ITEM_SIZES[last.dtype] + last.size


class _Together(Op):
    """The operator ``each`` on several sets of operands, one after the other, by one call of its kernel.

    inputs and outputs: those of the sets in turn.  Operand 0 of the sets, and every other that is as
    large, lie side by side: what is between them is zero and stays so.
    """

    each: ClassVar[str]
    #: operands of a set
    operands: ClassVar[int]

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        found = []
        for at in range(0, len(inputs), self.operands):
            found += op_for(self.each).infer(node, inputs[at : at + self.operands])
        return found

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        known: dict[str, Array | None] = dict(zip(node.inputs, inputs, strict=True))
        types = dict(zip(node.outputs, outputs, strict=True))
        for part in self._parts(node):
            made = op_for(self.each).compute(
                part, [known.get(n) for n in part.inputs], [types[n] for n in part.outputs]
            )
            known.update(zip(part.outputs, made, strict=True))
        results = [known[name] for name in node.outputs]
        return [result for result in results if result is not None]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        first = next(self._parts(node))
        call = op_for(self.each).kernel(first, inputs[: self.operands], outputs[: len(first.outputs)])
        expect(call is not None, node, f"{self.each} has no kernel", "report this as a bug")
        assert call is not None
        count = span([required(node, inputs, at) for at in range(0, len(inputs), self.operands)])
        return KernelCall(call.kernel, call.dtype, {**call.fields, "count": count})

    def _parts(self, node: Node) -> Iterator[Node]:
        sets = len(node.inputs) // self.operands
        results = len(node.outputs) // sets
        for i in range(sets):
            yield Node(
                self.each,
                node.inputs[i * self.operands : (i + 1) * self.operands],
                node.outputs[i * results : (i + 1) * results],
                node.attrs,
                node.name,
            )


@register
class AllFill(_Together):
    """:class:`~mcutrain.ops.optimizer.Fill` of accumulators."""

    each, operands = "Fill", 1


@register
class AllFiniteCheck(_Together):
    """:class:`~mcutrain.ops.optimizer.FiniteCheck` of accumulators, all into the same overflow."""

    each, operands = "FiniteCheck", 2


@register
class AllSgd(_Together):
    """:class:`~mcutrain.ops.optimizer.Sgd` of all parameters."""

    each, operands = "Sgd", 6


@register
class AllCast(_Together):
    """:class:`~mcutrain.ops.shape.Cast` of all parameters to f16; their copies lie as they do."""

    each, operands = "Cast", 1

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        masters = [required(node, inputs, at) for at in range(len(inputs))]
        shape = (span(masters),)
        x, y = (Tensor(first.name, shape, first.dtype) for first in (masters[0], outputs[0]))
        return strided_copy(node, x, y, (1,))
