"""Sums over axes: the inverse of broadcasting."""

from __future__ import annotations

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import narrow, widen
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.shape import target_dtype
from mcutrain.ops.softmax import sum_in_order
from mcutrain.ops.strides import contiguous, walk


def _reduced_axes(node: Node, x: Tensor) -> tuple[int, ...]:
    """Axes of x that broadcasting attribute ``shape`` to x's shape would repeat."""
    shape = tuple(int(d) for d in node.attrs["shape"])
    missing = len(x.shape) - len(shape)
    padded = (1,) * missing + shape
    fits = missing >= 0 and all(a in (1, b) for a, b in zip(padded, x.shape, strict=True))
    expect(fits, node, f"shape {list(shape)} does not broadcast to {list(x.shape)}", "report this as a bug")
    return tuple(axis for axis, (a, b) in enumerate(zip(padded, x.shape, strict=True)) if a != b)


@register
class ReduceSum(Op):
    """y of shape ``shape`` = the sum of x over the axes that broadcasting y to x would repeat.

    In FP32, one by one in index order from +0, rounded once; attribute
    ``dtype`` = f32 keeps the sum of FP16 elements in FP32.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        expect(x.dtype != "i32", node, "the operand is of integers")
        dtype = target_dtype(node, x)
        expect(dtype in (x.dtype, "f32"), node, f"a sum of {x.dtype} in {dtype}", "report this as a bug")
        _reduced_axes(node, x)
        return [(tuple(int(d) for d in node.attrs["shape"]), dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        reduced = _reduced_axes(node, Tensor("", x.shape, "f32"))
        kept = tuple(axis for axis in range(x.ndim) if axis not in reduced)
        count = int(np.prod([x.shape[axis] for axis in reduced], dtype=np.int64))
        with np.errstate(all="ignore"):
            total = sum_in_order(x.transpose(*reduced, *kept).reshape(count, -1), 0)
        return [narrow(total.reshape(outputs[0].shape), NUMPY_DTYPES[outputs[0].dtype])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            g.accumulate(x, g.emit("Expand", [dy], {"shape": g.tensor(x).shape}, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, y = required(node, inputs, 0), outputs[0]
        strides = contiguous(x.shape)
        reduced = _reduced_axes(node, x)
        kept = tuple(axis for axis in range(len(x.shape)) if axis not in reduced)
        dims, (kept_strides,) = walk(
            node, tuple(x.shape[axis] for axis in kept), tuple(strides[axis] for axis in kept)
        )
        reduced_dims, (reduced_strides,) = walk(
            node, tuple(x.shape[axis] for axis in reduced), tuple(strides[axis] for axis in reduced)
        )
        fields: dict[str, FieldValue] = {
            **pointers(x=x, y=y),
            "count": y.size,
            "y_f32": int(y.dtype == "f32"),
            "dims": dims,
            "strides": kept_strides,
            "reduced_count": x.size // y.size,
            "reduced_dims": reduced_dims,
            "reduced_strides": reduced_strides,
        }
        return KernelCall("reduce_sum", x.dtype, fields)
