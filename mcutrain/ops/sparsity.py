"""Weights made sparse: the proximal step and pruning by magnitude.  FP32 state, in place."""

from __future__ import annotations

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import canonical
from mcutrain.numerics.portions import PORTIONS, count_portions
from mcutrain.ops.base import KernelCall, Op, TensorType, present, register, required
from mcutrain.ops.state import expect_type, state_call


@register
class Shrink(Op):
    """w f32[...] = sign(w) max(|w| - threshold, 0), +0 for those that vanish; inputs w, threshold f32[1].

    The proximal operator of threshold · sum |w| (Parikh and Boyd, *Proximal Algorithms*, 2014).
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        w = required(node, inputs, 0)
        expect_type(node, inputs, 0, w.shape, "f32")
        expect_type(node, inputs, 1, (1,), "f32")
        return [(w.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        w, threshold = present(inputs, 0), present(inputs, 1)[0]
        with np.errstate(all="ignore"):
            rest = np.abs(w) - threshold
            return [canonical(np.where(rest <= 0, np.float32(0), np.where(w < 0, -rest, rest)))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        return state_call("shrink", ("w", "threshold"), inputs, outputs[0].size)


@register
class Prune(Op):
    """w f32[...] = 0 where |w| < threshold f32[1]; counts i32[8] grow by how many in each portion.

    inputs: w, threshold, counts.  outputs: w, counts.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        w = required(node, inputs, 0)
        expect_type(node, inputs, 0, w.shape, "f32")
        expect_type(node, inputs, 1, (1,), "f32")
        expect_type(node, inputs, 2, (PORTIONS,), "i32")
        return [(w.shape, "f32"), ((PORTIONS,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        w, threshold, counts = (present(inputs, i) for i in range(3))
        small = np.abs(w) < threshold[0]
        return [np.where(small, np.float32(0), w), counts + count_portions(small)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        return state_call("prune", ("w", "threshold", "counts"), inputs, outputs[0].size)
