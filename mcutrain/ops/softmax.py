"""Softmax and its logarithm along any axis, and their gradients: FP32 inside, rounded once.

Sums run in index order.  Attribute ``axis`` may be negative; -1 without it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import math as f32
from mcutrain.numerics import narrow, widen
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    Shape,
    TensorType,
    expect,
    pointers,
    present,
    register,
    required,
)

Float32Array = npt.NDArray[np.float32]


def sum_in_order(x: Float32Array, axis: int) -> Float32Array:
    """FP32 sum along ``axis``, one element after the other from +0; the axis stays with length one."""
    last = np.add.accumulate(x, axis=axis, dtype=np.float32).take([-1], axis=axis)
    return last + np.float32(0)


def softmax_terms(x: Float32Array, axis: int) -> tuple[Float32Array, Float32Array]:
    """x - max, and the sum of its exponentials, along ``axis``.  C: ``mct_softmax_of_row``."""
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted, sum_in_order(f32.exp(shifted), axis)


def _axis(node: Node, rank: int) -> int:
    axis = int(node.attrs.get("axis", -1))
    expect(-rank <= axis < rank, node, f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def _row_fields(node: Node, shape: Shape, logarithm: bool) -> dict[str, FieldValue]:
    axis = _axis(node, len(shape))
    return {
        "outer": int(np.prod(shape[:axis], dtype=np.int64)),
        "length": shape[axis],
        "inner": int(np.prod(shape[axis + 1 :], dtype=np.int64)),
        "logarithm": int(logarithm),
    }


class _Softmax(Op):
    logarithm: ClassVar[bool]

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect(x.dtype != "i32", node, "the operand is of integers")
        _axis(node, len(x.shape))
        return [(x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        shifted, total = softmax_terms(x, _axis(node, x.ndim))
        with np.errstate(all="ignore"):
            y = shifted - f32.log(total) if self.logarithm else f32.exp(shifted) / total
        return [narrow(y, NUMPY_DTYPES[outputs[0].dtype])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            op = f"{type(self).__name__}Gradient"
            g.accumulate(x, g.emit(op, [node.outputs[0], dy], node.attrs, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        y = outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(x=inputs[0], y=y),
            **_row_fields(node, y.shape, self.logarithm),
        }
        return KernelCall("softmax", y.dtype, fields)


@register
class Softmax(_Softmax):
    """y T = exp(x - max) / sum(exp(x - max)) along the axis."""

    logarithm = False


@register
class LogSoftmax(_Softmax):
    """y T = (x - max) - log(sum(exp(x - max))) along the axis."""

    logarithm = True


class _SoftmaxGradient(Op):
    logarithm: ClassVar[bool]

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        y, dy = required(node, inputs, 0), required(node, inputs, 1)
        expect(
            (dy.shape, dy.dtype) == (y.shape, y.dtype),
            node,
            "operands differ in type",
            "report this as a bug",
        )
        _axis(node, len(y.shape))
        return [(y.shape, y.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        y, dy = widen(present(inputs, 0)), widen(present(inputs, 1))
        axis = _axis(node, y.ndim)
        with np.errstate(all="ignore"):
            if self.logarithm:
                dx = dy - f32.exp(y) * sum_in_order(dy, axis)
            else:
                dx = y * (dy - sum_in_order(dy * y, axis))
        return [narrow(dx, NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dx = outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(y=inputs[0], dy=inputs[1], dx=dx),
            **_row_fields(node, dx.shape, self.logarithm),
        }
        return KernelCall("softmax_gradient", dx.dtype, fields)


@register
class SoftmaxGradient(_SoftmaxGradient):
    """dx T = y (dy - sum(dy y)) along the axis, from y T and dy T."""

    logarithm = False


@register
class LogSoftmaxGradient(_SoftmaxGradient):
    """dx T = dy - exp(y) sum(dy) along the axis, from y T and dy T."""

    logarithm = True
