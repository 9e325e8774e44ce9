"""Arithmetic on two tensors with broadcasting, and accumulation into FP32.

Every operation is done in FP32 and rounded once to the element type, which for
FP16 operands is the correctly rounded FP16 operation.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import canonical, narrow, widen
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.strides import broadcast, walk


def contribute(g: GradientBuilder, node: Node, name: str, grad: str) -> None:
    """Add ``grad``, summed over the axes ``name`` was broadcast over, to the gradient of ``name``."""
    shape = g.tensor(name).shape
    if g.tensor(grad).shape != shape:
        grad = g.emit("ReduceSum", [grad], {"shape": shape}, node=node)
    g.accumulate(name, grad)


class _Binary(Op):
    """y[broadcast of a and b] T = a T (operation) b T."""

    ufunc: ClassVar[np.ufunc]
    #: MCT_ADD … in kernels/binary.h
    code: ClassVar[int]

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        a, b = required(node, inputs, 0), required(node, inputs, 1)
        expect(a.dtype == b.dtype and a.dtype != "i32", node, f"operands of types {a.dtype} and {b.dtype}")
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            shape = None
        expect(shape is not None, node, f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast")
        return [(tuple(shape or ()), a.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        with np.errstate(all="ignore"):
            y = self.ufunc(widen(present(inputs, 0)), widen(present(inputs, 1)))
        return [narrow(y, NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        a, b, y = required(node, inputs, 0), required(node, inputs, 1), outputs[0]
        dims, (a_strides, b_strides) = walk(
            node, y.shape, broadcast(a.shape, y.shape), broadcast(b.shape, y.shape)
        )
        fields: dict[str, FieldValue] = {
            **pointers(a=a, b=b, y=y),
            "operation": self.code,
            "count": y.size,
            "dims": dims,
            "a_strides": a_strides,
            "b_strides": b_strides,
        }
        return KernelCall("binary", y.dtype, fields)


@register
class Add(_Binary):
    """y = a + b; da = db = dy."""

    ufunc = np.add
    code = 0

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        dy = dys[0]
        assert dy is not None
        for name in node.inputs:
            if g.needs(name):
                contribute(g, node, name, dy)


@register
class Sub(_Binary):
    """y = a - b; da = dy, db = -dy."""

    ufunc = np.subtract
    code = 1

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        dy = dys[0]
        assert dy is not None
        a, b = node.inputs
        if g.needs(a):
            contribute(g, node, a, dy)
        if g.needs(b):
            contribute(g, node, b, g.emit("Negate", [dy], node=node))


@register
class Mul(_Binary):
    """y = a b; da = dy b, db = dy a."""

    ufunc = np.multiply
    code = 2

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        dy = dys[0]
        assert dy is not None
        for name, other in zip(node.inputs, reversed(node.inputs), strict=True):
            if g.needs(name):
                contribute(g, node, name, g.emit("Mul", [dy, other], node=node))


@register
class Div(_Binary):
    """y = a / b; da = dy / b, db = -(dy y / b)."""

    ufunc = np.divide
    code = 3

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        dy = dys[0]
        assert dy is not None
        a, b = node.inputs
        if g.needs(a):
            contribute(g, node, a, g.emit("Div", [dy, b], node=node))
        if g.needs(b):
            product = g.emit("Mul", [dy, node.outputs[0]], node=node)
            quotient = g.emit("Div", [product, b], node=node)
            contribute(g, node, b, g.emit("Negate", [quotient], node=node))


@register
class Accumulate(Op):
    """acc[...] f32 += value[...] T, in place, in FP32."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        acc, value = required(node, inputs, 0), required(node, inputs, 1)
        expect(acc.dtype == "f32", node, f"the accumulator is {acc.dtype}", "report this as a bug")
        expect(acc.shape == value.shape, node, f"shapes {list(acc.shape)} and {list(value.shape)} differ")
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        with np.errstate(all="ignore"):
            return [canonical(np.asarray(present(inputs, 0) + widen(present(inputs, 1))))]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        value = required(node, inputs, 1)
        fields: dict[str, FieldValue] = {"sum": pointer(outputs[0]), "x": pointer(value), "count": value.size}
        return KernelCall("accumulate", value.dtype, fields)
