"""Gradient surgery: what points against another gradient is taken out, and some weights stay.

FP32 state, in place; every operation rounds once.
"""

from __future__ import annotations

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import canonical
from mcutrain.numerics.portions import PORTIONS, count_portions, dot_portions
from mcutrain.ops.base import KernelCall, Op, TensorType, op_for, present, register, required
from mcutrain.ops.state import expect_type, state_call


@register
class DotPortions(Op):
    """sums f32[8] = a·b over each portion of the elements: eight sums of the elements i mod 8, then those in
    order; products round, then sums.  inputs: a f32[...], b f32[...].
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        a = required(node, inputs, 0)
        expect_type(node, inputs, 0, a.shape, "f32")
        expect_type(node, inputs, 1, a.shape, "f32")
        return [((PORTIONS,), "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [dot_portions(present(inputs, 0), present(inputs, 1))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        a = required(node, inputs, 0)
        return state_call("dot_portions", ("a", "b", "sums"), [*inputs, outputs[0]], a.size)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 0).size


@register
class Project(Op):
    """acc f32[...] -= (dot / squares) held when dot < 0 < squares, in place.

    inputs: acc, held f32[...], dots f32[8] of acc and held, squares f32[8] of held; the sums of the eight
    are dot and squares.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc = required(node, inputs, 0)
        for index, shape in enumerate((acc.shape, acc.shape, (PORTIONS,), (PORTIONS,))):
            expect_type(node, inputs, index, shape, "f32")
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        acc, held = present(inputs, 0), present(inputs, 1)
        zero = np.zeros(1, np.float32)
        with np.errstate(all="ignore"):
            dot, squares = (np.add.accumulate(np.concatenate([zero, present(inputs, i)]))[-1] for i in (2, 3))
            if not (dot < 0 and squares > 0):
                return [acc.copy()]
            return [canonical(np.asarray(acc - (dot / squares) * held))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        return state_call("project", ("acc", "held", "dots", "squares"), inputs, outputs[0].size)


@register
class SelectMask(Op):
    """mask u8[...] = 1 where |acc| > threshold (kind 0) or |w acc| > threshold (kind 1), else 0.

    inputs: w f32[...], acc f32[...], rule f32[2] = [kind, threshold], counts i32[8].  outputs: mask, and
    counts, which grow by how many are 1 in each portion.  No other kind selects anything.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        w = required(node, inputs, 0)
        expect_type(node, inputs, 0, w.shape, "f32")
        expect_type(node, inputs, 1, w.shape, "f32")
        expect_type(node, inputs, 2, (2,), "f32")
        expect_type(node, inputs, 3, (PORTIONS,), "i32")
        return [(w.shape, "u8"), ((PORTIONS,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        w, acc, (kind, threshold), counts = (present(inputs, i) for i in range(4))
        with np.errstate(all="ignore"):
            score = np.abs(w * acc if kind == 1 else acc)
        chosen = (score > threshold) & np.bool_(kind in (0, 1))
        return [chosen.astype(np.uint8), counts + count_portions(chosen)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        w, acc, rule, counts = inputs
        tensors = [w, acc, rule, outputs[0], counts]
        return state_call("select_mask", ("w", "acc", "rule", "mask", "counts"), tensors, outputs[0].size)


@register
class MaskedSgd(Op):
    """The step of :class:`~mcutrain.ops.optimizer.Sgd`; where mask is 0 the weight stays.

    Momentum goes on everywhere.  inputs: those of Sgd, then mask u8[...].  outputs: those of Sgd.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect_type(node, inputs, 6, required(node, inputs, 0).shape, "u8")
        return op_for("Sgd").infer(node, inputs[:6])

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        moved, *others = op_for("Sgd").compute(node, inputs[:6], outputs)
        return [np.where(present(inputs, 6) != 0, moved, present(inputs, 0)), *others]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields = ("w", "g", "v", "hyper", "scale", "overflow", "mask")
        return state_call("masked_sgd", fields, inputs, outputs[0].size)
