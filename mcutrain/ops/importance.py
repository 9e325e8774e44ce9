"""Importance of parameters: squares of gradients, kept in a byte each, and what is made of them.

Importance is the mean over samples of the squared gradient, the diagonal of the empirical Fisher
information.  It is stored in quarter octaves (:mod:`mcutrain.numerics.octaves`).  FP32 inside, every
operation rounds once.  Dampening is that of Foster et al., *Fast Machine Unlearning Without Retraining
Through Selective Synaptic Dampening*, AAAI 2024.
"""

from __future__ import annotations

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import add_squares, canonical, octaves
from mcutrain.numerics.portions import PORTIONS, count_portions
from mcutrain.ops.base import KernelCall, Op, TensorType, present, register, required
from mcutrain.ops.state import expect_type, state_call


@register
class AddSquares(Op):
    """acc[...] f32 += g[...]², in place: the square rounds, then the sum."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc = required(node, inputs, 0)
        expect_type(node, inputs, 0, acc.shape, "f32")
        expect_type(node, inputs, 1, acc.shape, "f32")
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [add_squares(present(inputs, 0), present(inputs, 1))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        return state_call("add_squares", ("acc", "g"), inputs, outputs[0].size)


@register
class StoreImportance(Op):
    """importance u8[...] = quarter octaves of acc f32[...] · factor f32[1]; inputs acc, factor."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc = required(node, inputs, 0)
        expect_type(node, inputs, 0, acc.shape, "f32")
        expect_type(node, inputs, 1, (1,), "f32")
        return [(acc.shape, "u8")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        with np.errstate(all="ignore"):
            return [octaves.encode(np.asarray(present(inputs, 0) * present(inputs, 1)[0]))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields = ("acc", "factor", "importance")
        return state_call("store_importance", fields, [*inputs, outputs[0]], outputs[0].size)


@register
class RetainImportance(Op):
    """importance u8[...] of the samples that are left, in place.

    inputs: importance, acc f32[...], retention f32[3] = [N, n, factor].
    importance = quarter octaves of max(0, (N importance - n (acc factor)) / (N - n)):
    exact for means over N samples of which n are forgotten, but for the codes.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc = required(node, inputs, 1)
        expect_type(node, inputs, 0, acc.shape, "u8")
        expect_type(node, inputs, 1, acc.shape, "f32")
        expect_type(node, inputs, 2, (3,), "f32")
        return [(acc.shape, "u8")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        count, gone, factor = present(inputs, 2)
        with np.errstate(all="ignore"):
            forget = present(inputs, 1) * factor
            rest = (count * octaves.decode(present(inputs, 0)) - gone * forget) / (count - gone)
        return [octaves.encode(canonical(np.asarray(rest)))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields = ("importance", "acc", "retention")
        return state_call("retain_importance", fields, inputs, outputs[0].size)


@register
class Dampen(Op):
    """w f32[...] of parameters that matter to the forgotten samples become smaller, in place.

    inputs: w, acc f32[...], importance u8[...], dampening f32[3] = [alpha, lambda, factor], counts i32[8].
    outputs: w, counts.  Where forget = acc factor > alpha importance, w is multiplied by
    min(lambda importance / forget, 1); counts[p] grows by the elements of portion p whose multiplier is
    below one.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        w = required(node, inputs, 0)
        expect_type(node, inputs, 0, w.shape, "f32")
        expect_type(node, inputs, 1, w.shape, "f32")
        expect_type(node, inputs, 2, w.shape, "u8")
        expect_type(node, inputs, 3, (3,), "f32")
        expect_type(node, inputs, 4, (PORTIONS,), "i32")
        return [(w.shape, "f32"), ((PORTIONS,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        w, acc, counts = (present(inputs, i) for i in (0, 1, 4))
        alpha, strength, factor = present(inputs, 3)
        known = octaves.decode(present(inputs, 2))
        one = np.float32(1)
        with np.errstate(all="ignore"):
            forget = acc * factor
            ratio = (strength * known) / forget
            multiplier = np.where((forget > alpha * known) & (ratio < one), ratio, one)
            return [canonical(np.asarray(w * multiplier)), counts + count_portions(multiplier < one)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        fields = ("w", "acc", "importance", "dampening", "counts")
        return state_call("dampen", fields, inputs, outputs[0].size)
