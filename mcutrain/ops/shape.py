"""Operators that move elements: views, transposition, conversion, padding, broadcast."""

from __future__ import annotations

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, DType, Node, Tensor
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
from mcutrain.ops.strides import broadcast, contiguous, leading, walk


def target_dtype(node: Node, x: Tensor) -> DType:
    """Element type of the result: attribute ``dtype``, or that of ``x``; only f16 and f32 convert."""
    dtype: DType = node.attrs.get("dtype") or x.dtype
    expect(
        dtype == x.dtype or {dtype, x.dtype} == {"f16", "f32"},
        node,
        f"no conversion from {x.dtype} to {dtype}",
        "convert between floating-point types only",
    )
    return dtype


def converted(x: Array, dtype: str) -> Array:
    """A contiguous copy in the element type: f32 to f16 rounds once, f16 to f32 is exact."""
    if NUMPY_DTYPES[dtype] is x.dtype.type:
        return np.array(x, order="C")
    return narrow(widen(x), NUMPY_DTYPES[dtype])


def strided_copy(node: Node, x: Tensor, y: Tensor, strides: Shape) -> KernelCall:
    """The call that reads ``x`` with ``strides`` in the order of ``y``'s elements."""
    dims, (walked,) = walk(node, y.shape, strides)
    if x.dtype == y.dtype:
        conversion, dtype = "MCT_KEEP", "f16" if y.dtype == "f16" else "f32"
    else:
        conversion, dtype = "MCT_NARROW" if y.dtype == "f16" else "MCT_WIDEN", "f16"
    fields: dict[str, FieldValue] = {
        **pointers(x=x, y=y),
        "conversion": {"MCT_KEEP": 0, "MCT_NARROW": 1, "MCT_WIDEN": 2}[conversion],
        "count": y.size,
        "dims": dims,
        "strides": walked,
    }
    return KernelCall("strided_copy", dtype, fields)


@register
class Reshape(Op):
    """The same elements in shape ``shape`` (attribute, fully known): a view without a kernel."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        shape = tuple(int(d) for d in node.attrs["shape"])
        fits = all(d >= 0 for d in shape) and int(np.prod(shape, dtype=np.int64)) == x.size
        expect(fits, node, f"shape {list(x.shape)} does not reshape to {list(shape)}")
        return [(shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [present(inputs, 0).reshape(outputs[0].shape).copy()]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            g.accumulate(x, g.emit("Reshape", [dy], {"shape": g.tensor(x).shape}, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall | None:
        return None


@register
class Transpose(Op):
    """Axis ``i`` of the result is axis ``perm[i]`` of x; attribute ``dtype`` also converts (f16, f32)."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        perm = self._perm(node)
        expect(
            sorted(perm) == list(range(len(x.shape))), node, f"{perm} does not permute {len(x.shape)} axes"
        )
        return [(tuple(x.shape[axis] for axis in perm), target_dtype(node, x))]

    def _perm(self, node: Node) -> Shape:
        return tuple(int(axis) for axis in node.attrs["perm"])

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [converted(present(inputs, 0).transpose(self._perm(node)), outputs[0].dtype)]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            inverse = tuple(int(axis) for axis in np.argsort(self._perm(node)))
            attrs = {"perm": inverse, **({"dtype": g.tensor(x).dtype} if "dtype" in node.attrs else {})}
            g.accumulate(x, g.emit("Transpose", [dy], attrs, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        strides = contiguous(x.shape)
        return strided_copy(node, x, outputs[0], tuple(strides[axis] for axis in self._perm(node)))


@register
class Cast(Op):
    """x in element type ``dtype`` (f16 or f32), rounded once."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        return [(x.shape, target_dtype(node, x))]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [converted(present(inputs, 0), outputs[0].dtype)]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            g.accumulate(x, g.emit("Cast", [dy], {"dtype": g.tensor(x).dtype}, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        return strided_copy(node, x, outputs[0], contiguous(x.shape))


@register
class Expand(Op):
    """x broadcast to shape ``shape``; dx is the sum over the axes it was broadcast over."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        shape = tuple(int(d) for d in node.attrs["shape"])
        padded = (1,) * (len(shape) - len(x.shape)) + x.shape
        fits = len(padded) == len(shape) and all(a in (1, b) for a, b in zip(padded, shape, strict=True))
        expect(fits, node, f"shape {list(x.shape)} does not broadcast to {list(shape)}")
        return [(shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        return [converted(np.broadcast_to(present(inputs, 0), outputs[0].shape), outputs[0].dtype)]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            g.accumulate(x, g.emit("ReduceSum", [dy], {"shape": g.tensor(x).shape}, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        return strided_copy(node, x, outputs[0], broadcast(x.shape, outputs[0].shape))


@register
class Pad(Op):
    """x with ``begin[i]`` zeros before and ``end[i]`` after axis i; negative numbers cut elements off."""

    def _pads(self, node: Node) -> tuple[Shape, Shape]:
        return tuple(int(v) for v in node.attrs["begin"]), tuple(int(v) for v in node.attrs["end"])

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = required(node, inputs, 0)
        begin, end = self._pads(node)
        expect(len(begin) == len(end) == len(x.shape), node, f"pads {begin} and {end} of {len(x.shape)} axes")
        shape = tuple(b + d + e for b, d, e in zip(begin, x.shape, end, strict=True))
        expect(min(shape, default=1) > 0, node, f"pads {begin} and {end} leave nothing of {list(x.shape)}")
        return [(shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = present(inputs, 0)
        y = np.zeros(outputs[0].shape, x.dtype)
        begin, _ = self._pads(node)
        to, source = [], []
        for b, have, want in zip(begin, x.shape, y.shape, strict=True):
            first, last = max(0, b), max(0, b, min(want, b + have))
            to.append(slice(first, last))
            source.append(slice(first - b, last - b))
        y[tuple(to)] = x[tuple(source)]
        return [y]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            begin, end = (tuple(-v for v in pads) for pads in self._pads(node))
            g.accumulate(x, g.emit("Pad", [dy], {"begin": begin, "end": end}, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, y = required(node, inputs, 0), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(x=x, y=y),
            "count": y.size,
            "dims": leading(node, y.shape, 1),
            "x_dims": leading(node, x.shape, 1),
            "begins": leading(node, self._pads(node)[0], 0),
        }
        return KernelCall("pad", "f16" if y.dtype == "f16" else "f32", fields)
