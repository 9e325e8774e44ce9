"""Input gradients of dense layers and pointwise convolutions from the weights as they are."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import dot_nt
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointers,
    present,
    register,
    required,
    tile_fields,
)
from mcutrain.ops.dense import dot_rule, finish


@register
class DenseInputGradient(Op):
    """``dx = dy . w``, reduction over w's rows ascending: the bits of Dense on w's transpose.

    dy: T [..., N]; w: T [N, K] or [N, 1, 1, K], for all rows, or [..., N, K] with dy's leading axes but one.
    dx: T [..., K].
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy, w = required(node, inputs, 0), required(node, inputs, 1)
        batch, depth, columns = _matrices(w.shape)
        leads = w.shape[:-2] if batch != 1 else ()
        expect(
            dy.shape[-1] == depth and leads == dy.shape[: len(leads)],
            node,
            f"gradient {dy.shape} does not fit weight {w.shape}",
        )
        expect(dy.dtype == w.dtype, node, f"gradient is {dy.dtype}, weight {w.dtype}", "report this as a bug")
        return [((*dy.shape[:-1], columns), dy.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dy, w = present(inputs, 0), present(inputs, 1)
        batch, depth, columns = _matrices(w.shape)
        rows, w = dy.reshape(batch, -1, depth), w.reshape(batch, depth, columns)
        total = np.stack([dot_nt(rows[i], np.ascontiguousarray(w[i].T)) for i in range(batch)])
        return [finish(Node(node.op, (), ()), total, None, outputs[0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dy, w = required(node, inputs, 0), required(node, inputs, 1)
        batch, depth, columns = _matrices(w.shape)
        fields: dict[str, FieldValue] = {
            **pointers(dy=dy, w=w, dx=outputs[0]),
            "batch": batch,
            "rows": dy.size // depth // batch,
            "columns": columns,
            "depth": depth,
            **tile_fields(node),
        }
        return KernelCall("dense_input_gradient", dy.dtype, fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return outputs[0].size * required(node, inputs, 0).shape[-1]


def _matrices(w: tuple[int, ...]) -> tuple[int, int, int]:
    """Independent products, rows and columns of w, which may be the weight of a pointwise convolution."""
    if len(w) == 4 and w[1:3] == (1, 1):
        return 1, w[0], w[3]
    return math.prod(w[:-2]), w[-2], w[-1]
