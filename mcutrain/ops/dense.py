"""Matrix products: dense layers, MatMul and the gradients of their weights and biases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mcutrain.ir import Array, Node, Tensor
from mcutrain.numerics import activate, add_squares, dot, dot_nt, dot_tn, narrow
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    TensorType,
    expect,
    optional,
    pointers,
    present,
    register,
    required,
    tile_fields,
)

#: Codes of kernels/mct.h.
ACTIVATION_CODES = {"none": 0, "relu": 1, "clip": 2}


def dot_rule(dtype: str) -> str:
    """The accumulation rule of dot products over elements of ``dtype``."""
    return "pair-f32" if dtype == "f16" else "seq-f32"


def activation_fields(node: Node) -> dict[str, FieldValue]:
    """Structure fields of the activation a kernel applies to its result."""
    return {
        "activation": ACTIVATION_CODES[node.attrs.get("activation", "none")],
        "lo": float(node.attrs.get("lo", 0.0)),
        "hi": float(node.attrs.get("hi", 0.0)),
    }


def finish(node: Node, total: Array, bias: Array | None, output: Tensor) -> Array:
    """Bias, activation and the one rounding of a finished dot product (f32 ``total``, channels last)."""
    with np.errstate(all="ignore"):
        total = total + (np.float32(0) if bias is None else bias)
    attrs = node.attrs
    total = activate(total, attrs.get("activation", "none"), attrs.get("lo", 0.0), attrs.get("hi", 0.0))
    return narrow(total, np.float16 if output.dtype == "f16" else np.float32).reshape(output.shape)


def gradient_before_activation(node: Node, g: GradientBuilder, dy: str) -> str:
    """The gradient of the sum that the node's fused activation was applied to."""
    if node.attrs.get("activation", "none") == "none":
        return dy
    attrs: dict[str, Any] = {n: node.attrs[n] for n in ("activation", "lo", "hi") if n in node.attrs}
    return g.emit("ActivationGradient", [dy, node.outputs[0]], attrs, node=node)


def bias_gradient(node: Node, g: GradientBuilder, dy: str) -> None:
    """Accumulate the gradient of input 2, the bias, if it is there and trained."""
    bias = optional(node.inputs, 2)
    if bias and g.needs(bias):
        g.emit("BiasGradient", [dy, g.accumulator(bias)], node=node, out=g.accumulator(bias))


def squares(node: Node) -> bool:
    """Whether a node that accumulates a gradient adds the squares of its elements in place of them."""
    return bool(node.attrs.get("squares", False))


def accumulated(node: Node, acc: Array, gradient: Callable[[Array], Array]) -> Array:
    """``acc`` f32 after a gradient has been added to it, or with attribute ``squares`` its squares.

    ``gradient`` continues its dot products, f32 of acc's shape, from what it is given. What is squared begins
    with zeros and is whole: acc + g², each operation rounds once.
    """
    if squares(node):
        return add_squares(acc, narrow(gradient(np.zeros_like(acc)), np.float32))
    return narrow(gradient(acc), np.float32)


def check_bias(node: Node, inputs: list[Tensor | None], channels: int) -> None:
    bias = optional(inputs, 2)
    if bias is not None:
        expect(bias.shape == (channels,), node, f"bias has shape {bias.shape}, not ({channels},)")
        expect(bias.dtype == "f32", node, f"bias is {bias.dtype}, not f32", "report this as a bug")


@register
class Dense(Op):
    """``y = activation(x . w^T + b)``.

    x: T [..., M, K]; w: T [N, K], or [..., N, K] with x's leading axes;
    b: f32 [N], optional.  y: T [..., M, N].
    attrs: activation (none, relu, clip), lo, hi.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        expect(len(x.shape) >= 2 and len(w.shape) >= 2, node, "operands need two axes or more")
        expect(x.shape[-1] == w.shape[-1], node, f"depths {x.shape[-1]} and {w.shape[-1]} differ")
        expect(
            len(w.shape) == 2 or x.shape[:-2] == w.shape[:-2],
            node,
            f"leading axes of {x.shape} and {w.shape} differ",
        )
        expect(x.dtype == w.dtype, node, f"operands are {x.dtype} and {w.dtype}", "report this as a bug")
        check_bias(node, inputs, w.shape[-2])
        return [((*x.shape[:-1], w.shape[-2]), x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, w = present(inputs, 0), present(inputs, 1)
        batch, rows = _batch(x.shape, w.shape)
        x, w = x.reshape(batch, rows, x.shape[-1]), w.reshape(batch, *w.shape[-2:])
        total = (
            np.stack([dot_nt(x[i], w[i]) for i in range(batch)])
            if batch
            else np.zeros(outputs[0].shape, "f4")
        )
        return [finish(node, total, optional(inputs, 2), outputs[0])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        """dx = dy . w, dw = dy^T . x, db = column sums of dy."""
        if dys[0] is None:
            return
        x, w = node.inputs[:2]
        dy = gradient_before_activation(node, g, dys[0])
        bias_gradient(node, g, dy)
        if g.needs(w):
            if g.is_parameter(w):
                acc = g.accumulator(w)
                g.emit("DenseWeightGradient", [x, dy, acc], node=node, out=acc)
            else:
                g.accumulate(w, self._operand_gradient(node, g, x, w, dy))
        if g.needs(x):
            g.accumulate(x, g.emit("Dense", [dy, _transposed(node, g, w)], node=node))

    @staticmethod
    def _operand_gradient(node: Node, g: GradientBuilder, x: str, w: str, dy: str) -> str:
        """dw for a ``w`` that is itself computed: the product dy^T . x in T."""
        if len(g.tensor(w).shape) == 2 and len(g.tensor(x).shape) > 2:
            x, dy = (_as_rows(node, g, name) for name in (x, dy))
        return g.emit("Dense", [_transposed(node, g, dy), _transposed(node, g, x)], node=node)

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        batch, rows = _batch(x.shape, w.shape)
        return dense_call(node, inputs, outputs[0], batch, rows, w.shape[-2], w.shape[-1])

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return outputs[0].size * required(node, inputs, 0).shape[-1]


def dense_call(
    node: Node, inputs: list[Tensor | None], y: Tensor, batch: int, rows: int, columns: int, depth: int
) -> KernelCall:
    """A call of kernels/dense.c on inputs (x, w, bias)."""
    x, w = required(node, inputs, 0), required(node, inputs, 1)
    fields: dict[str, FieldValue] = {
        **pointers(x=x, w=w, bias=optional(inputs, 2), y=y),
        "batch": batch,
        "rows": rows,
        "columns": columns,
        "depth": depth,
        **activation_fields(node),
        **tile_fields(node),
    }
    return KernelCall("dense", x.dtype, fields)


@register
class DenseWeightGradient(Op):
    """``acc[n, k] += sum_m dy[m, n] * x[m, k]``, continuing the dot product from the stored acc.

    x: T [..., M, K]; dy: T [..., M, N]; acc: f32 [N, K] (all leading axes are
    summed as rows) or [..., N, K] with x's leading axes.  In place.
    attrs: squares: acc += g² of the gradient g from zero on, see :func:`accumulated`.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, dy, acc = (required(node, inputs, i) for i in range(3))
        expect(x.shape[:-1] == dy.shape[:-1], node, f"rows of {x.shape} and {dy.shape} differ")
        shapes = ((dy.shape[-1], x.shape[-1]), (*x.shape[:-2], dy.shape[-1], x.shape[-1]))
        expect(acc.shape in shapes, node, f"accumulator {acc.shape} does not fit {dy.shape} and {x.shape}")
        expect(
            acc.dtype == "f32" and x.dtype == dy.dtype, node, "wrong element types", "report this as a bug"
        )
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, dy, acc = (present(inputs, i) for i in range(3))
        batch, rows = _batch(x.shape, acc.shape)
        x, dy = x.reshape(batch, rows, x.shape[-1]), dy.reshape(batch, rows, dy.shape[-1])

        def gradient(start: Array) -> Array:
            parts = start.reshape(batch, *acc.shape[-2:])
            return np.stack([dot_tn(dy[i], x[i], parts[i]) for i in range(batch)]).reshape(acc.shape)

        return [accumulated(node, acc, gradient)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, _, acc = (required(node, inputs, i) for i in range(3))
        batch, rows = _batch(x.shape, acc.shape)
        return weight_gradient_call(node, inputs, batch, rows, acc.shape[-2], acc.shape[-1])

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 1).size * required(node, inputs, 0).shape[-1]


def weight_gradient_call(
    node: Node, inputs: list[Tensor | None], batch: int, rows: int, columns: int, depth: int
) -> KernelCall:
    """A call of kernels/dense_weight_gradient.c on inputs (x, dy, acc)."""
    x, dy, acc = (required(node, inputs, i) for i in range(3))
    fields: dict[str, FieldValue] = {
        **pointers(x=x, dy=dy, acc=acc),
        "batch": batch,
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "squares": squares(node),
        **tile_fields(node),
    }
    return KernelCall("dense_weight_gradient", x.dtype, fields)


@register
class BiasGradient(Op):
    """``acc[c] += sum of dy[..., c]``, the dot product of dy's columns with ones.

    dy: T [..., C]; acc: f32 [C], in place.
    attrs: squares: acc += g² of the sums g from zero on.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy, acc = required(node, inputs, 0), required(node, inputs, 1)
        expect(acc.shape == dy.shape[-1:], node, f"accumulator {acc.shape} does not fit {dy.shape}")
        expect(acc.dtype == "f32", node, f"accumulator is {acc.dtype}, not f32", "report this as a bug")
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dy = present(inputs, 0)
        rows = dy.reshape(-1, dy.shape[-1])
        ones = np.ones((len(rows), 1), dy.dtype)
        return [accumulated(node, present(inputs, 1), lambda start: dot(rows, ones, start))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dy, acc = required(node, inputs, 0), required(node, inputs, 1)
        channels = dy.shape[-1]
        fields: dict[str, FieldValue] = {
            **pointers(dy=dy, acc=acc),
            "rows": dy.size // channels,
            "channels": channels,
            "squares": squares(node),
        }
        return KernelCall("bias_gradient", dy.dtype, fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)


def _batch(x: tuple[int, ...], w: tuple[int, ...]) -> tuple[int, int]:
    """(independent products, rows of each) for x [..., M, K] and w [N, K] or [..., N, K]."""
    batch = math.prod(w[:-2])
    return batch, math.prod(x[:-1]) // max(batch, 1)


def _as_rows(node: Node, g: GradientBuilder, name: str) -> str:
    """The tensor as a matrix: all axes but the last become rows."""
    tensor = g.tensor(name)
    shape = (math.prod(tensor.shape[:-1]), tensor.shape[-1])
    return g.emit("Reshape", [name], {"shape": shape}, node=node)


def _transposed(node: Node, g: GradientBuilder, name: str) -> str:
    """The tensor with its last two axes exchanged."""
    axes = list(range(len(g.tensor(name).shape)))
    axes[-2:] = axes[:-3:-1]
    return g.emit("Transpose", [name], {"perm": tuple(axes)}, node=node)
