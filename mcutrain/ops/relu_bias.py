"""The gradients of a ReLU and of the bias before it, which read the same numbers, in one pass."""

from __future__ import annotations

from mcutrain.ir import Array, Node, Tensor
from mcutrain.ops.base import KernelCall, Op, TensorType, op_for, pointers, register, required
from mcutrain.ops.dense import dot_rule, squares


@register
class ReluBiasGradient(Op):
    """ActivationGradient of a ReLU, then BiasGradient of its result.

    inputs: dy T [..., C], y T [..., C] (the result of the ReLU), acc f32 [C].  outputs: dx T [..., C],
    which is 0 where y <= 0 and dy elsewhere, and acc, in place, plus the sums of dx's columns.
    attrs: activation; squares: acc += g² of the sums g from zero on.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dx = op_for("ActivationGradient").infer(node, inputs[:2])
        return [*dx, *op_for("BiasGradient").infer(node, inputs[1:])]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        (dx,) = op_for("ActivationGradient").compute(node, inputs[:2], outputs[:1])
        return [dx, *op_for("BiasGradient").compute(node, [dx, inputs[2]], outputs[1:])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dy, y, acc = (required(node, inputs, i) for i in range(3))
        channels = dy.shape[-1]
        return KernelCall(
            "relu_bias_gradient",
            dy.dtype,
            {
                **pointers(dy=dy, y=y, dx=outputs[0], acc=acc),
                "rows": dy.size // channels,
                "channels": channels,
                "squares": squares(node),
            },
        )

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)
