"""Importance of parameters: squares of gradients, kept in a byte each, and what is made of them.

Importance is the mean over samples of the squared gradient, the diagonal of the empirical Fisher information.
"""

from __future__ import annotations

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import canonical
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointer,
    present,
    register,
    required,
)


def expect_type(node: Node, tensor: Tensor, shape: tuple[int, ...], dtype: str) -> None:
    """Raise GraphError unless the operand has this type."""
    expect(
        (tensor.shape, tensor.dtype) == (shape, dtype),
        node,
        f"'{tensor.name}' is {tensor.dtype}{list(tensor.shape)}, not {dtype}{list(shape)}",
        "report this as a bug",
    )


@register
class AddSquares(Op):
    """acc[...] f32 += g[...]², in place: the square rounds, then the sum."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc, g = required(node, inputs, 0), required(node, inputs, 1)
        expect_type(node, acc, g.shape, "f32")
        expect_type(node, g, acc.shape, "f32")
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        acc, g = present(inputs, 0), present(inputs, 1)
        with np.errstate(all="ignore"):
            return [canonical(np.asarray(acc + g * g))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields: dict[str, FieldValue] = {
            "acc": pointer(outputs[0]),
            "g": pointer(inputs[1]),
            "count": outputs[0].size,
        }
        return KernelCall("add_squares", "f32", fields)
