"""Dense layers on one row whose FP32 weights cross memory once each way: no rounded copy, no accumulator."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import dot_nt, narrow, widen
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    optional,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.dense import activation_fields, check_bias, dot_rule, finish


@register
class RoundedDense(Op):
    """``y = activation(x . f16(w)^T + b)``: Dense that rounds its FP32 weights as it reads them.

    x: f16 [..., K] of one row; w: f32 [N, K]; b: f32 [N], optional.  y: f16 [..., N].
    attrs: activation (none, relu, clip), lo, hi.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        expect(len(w.shape) == 2 and x.size == x.shape[-1], node, "not one row", "report this as a bug")
        expect(x.shape[-1] == w.shape[-1], node, f"depths {x.shape[-1]} and {w.shape[-1]} differ")
        expect((x.dtype, w.dtype) == ("f16", "f32"), node, "wrong element types", "report this as a bug")
        check_bias(node, inputs, w.shape[0])
        return [((*x.shape[:-1], w.shape[0]), "f16")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, w = present(inputs, 0), narrow(present(inputs, 1), np.float16)
        return [finish(node, dot_nt(x.reshape(1, -1), w), optional(inputs, 2), outputs[0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        fields: dict[str, FieldValue] = {
            **pointers(x=x, w=w, bias=optional(inputs, 2), y=outputs[0]),
            "columns": w.shape[0],
            "depth": w.shape[1],
            **activation_fields(node),
        }
        return KernelCall("dense_rounded", "f16", fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule("f16")

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 1).size


@register
class DenseUpdate(Op):
    """Backward pass and gradient descent of a dense layer on one row, in one walk over its weights.

    inputs: x T [..., K]; dy T [..., N]; w f32 [N, K]; b f32 [N] or ''; hyper f32[4] = [rate, momentum,
    weight decay, 1 / batch]; scale f32[1] (loss scale); overflow i32[1].
    outputs: w, b when given, overflow, and with attribute ``dx`` the gradient dx T [..., K].

        dx = dy . T(w), with the weights as they were; with attribute ``relu`` 0 where x <= 0
        overflow = 1 if x or dy hold an infinity or a NaN; if it is set, nothing below happens
        q = rate * (1 / batch / scale) * dy;  keep = 1 - rate * decay
        w = keep * w - q (x) x;  b = keep * b - q

    Every operation rounds once in FP32.  The momentum is not used.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect(len(inputs) == 7, node, f"{len(inputs)} operands, not 7", "report this as a bug")
        x, dy, w = (required(node, inputs, i) for i in range(3))
        one_row = x.size == x.shape[-1] and dy.size == dy.shape[-1]
        expect(one_row and w.shape == (dy.size, x.size), node, "not one row", "report this as a bug")
        expect(w.dtype == "f32" and x.dtype == dy.dtype, node, "wrong element types", "report this as a bug")
        outputs: list[TensorType] = [(w.shape, "f32")]
        bias = inputs[3]
        if bias is not None:
            expect(bias.shape == (dy.size,), node, f"bias has shape {bias.shape}, not ({dy.size},)")
            outputs.append((bias.shape, "f32"))
        outputs.append(((1,), "i32"))
        if node.attrs.get("dx"):
            outputs.append((x.shape, x.dtype))
        return outputs

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, dy, w = (present(inputs, i) for i in range(3))
        bias, overflow = inputs[3], present(inputs, 6)
        rate, _, decay, inverse_batch = present(inputs, 4)
        results: list[Array] = []
        if node.attrs.get("dx"):
            columns = narrow(w, x.dtype.type).T
            dx = finish(node, dot_nt(dy.reshape(1, -1), columns), None, outputs[-1])
            results.append(np.where(x <= 0, dx.dtype.type(0), dx) if node.attrs.get("relu") else dx)
        finite = bool(np.isfinite(x).all() and np.isfinite(dy).all())
        if overflow[0] != 0 or not finite:
            kept = [w.copy()] if bias is None else [w.copy(), bias.copy()]
            return [*kept, overflow.copy() if finite else np.ones(1, np.int32), *results]
        with np.errstate(all="ignore"):
            q = rate * (inverse_batch / present(inputs, 5)[0]) * widen(dy).reshape(-1)
            keep = np.float32(1) - rate * decay
            updated = [keep * w - q[:, None] * widen(x).reshape(1, -1)]
            if bias is not None:
                updated.append(keep * bias - q)
        return [*updated, overflow.copy(), *results]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, dy, w = (required(node, inputs, i) for i in range(3))
        fields: dict[str, FieldValue] = {
            **pointers(
                x=x,
                dy=dy,
                w=w,
                bias=inputs[3],
                dx=outputs[-1] if node.attrs.get("dx") else None,
                hyper=inputs[4],
                scale=inputs[5],
                overflow=inputs[6],
            ),
            "columns": w.shape[0],
            "depth": w.shape[1],
            "relu": bool(node.attrs.get("relu")),
        }
        return KernelCall("dense_update", x.dtype, fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype) if node.attrs.get("dx") else ""

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return math.prod(required(node, inputs, 2).shape) * (2 if node.attrs.get("dx") else 1)
