"""Helpers of operators on state that training leaves behind, and the counts they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics.portions import PORTIONS
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    Shape,
    TensorType,
    expect,
    pointer,
    present,
    register,
    required,
)


def expect_type(node: Node, inputs: Sequence[Tensor | None], index: int, shape: Shape, dtype: str) -> None:
    """Raise GraphError unless input ``index`` is there and has this type."""
    tensor = required(node, inputs, index)
    expect(
        (tensor.shape, tensor.dtype) == (shape, dtype),
        node,
        f"'{tensor.name}' is {tensor.dtype}{list(tensor.shape)}, not {dtype}{list(shape)}",
        "report this as a bug",
    )


def state_call(
    kernel: str, fields: Sequence[str], tensors: Sequence[Tensor | None], count: int
) -> KernelCall:
    """A call of an f32 kernel on ``count`` elements, its operands by field."""
    values: dict[str, FieldValue] = {f: pointer(t) for f, t in zip(fields, tensors, strict=True)}
    return KernelCall(kernel, "f32", {**values, "count": count})


@register
class CountTotal(Op):
    """total i32[1] = the sum of counts i32[8], one of each portion of the elements."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect_type(node, inputs, 0, (PORTIONS,), "i32")
        return [((1,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [present(inputs, 0).sum(keepdims=True, dtype=np.int32)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        return KernelCall("count_total", "f32", {"counts": pointer(inputs[0]), "total": pointer(outputs[0])})
