"""Max and average pooling of NHWC tensors, and their gradients.

Attributes of all four: ``kernel`` (2), ``strides`` (2), ``pads`` (4: top,
left, bottom, right), ``dilations`` (2), optional ``out_hw`` (2) where the
output size doesn't follow from them (ceil_mode); average pooling also has
``count_include_pad``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import narrow, widen
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    Shape,
    TensorType,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)


@dataclass(frozen=True)
class Axis:
    """Windows along one axis: tap ``k`` of result ``o`` is at ``o * stride + k * dilation - before``."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    def taps(self) -> list[tuple[slice, slice]]:
        """For each tap the results that have it inside the input, and the inputs it is at."""
        found = []
        for k in range(self.kernel):
            offset = k * self.dilation - self.before
            first = max(0, -(offset // self.stride))
            last = max(first, min(self.out, (self.size - 1 - offset) // self.stride + 1))
            start = first * self.stride + offset
            stop = start + (last - first) * self.stride
            found.append(
                (slice(first, last), slice(start, stop, self.stride) if last > first else slice(0, 0))
            )
        return found

    def counts(self, include_pad: bool) -> npt.NDArray[np.int64]:
        """Taps of each result inside the input, or inside the input and its padding."""
        at = np.arange(self.out)[:, None] * self.stride + np.arange(self.kernel)[None, :] * self.dilation
        first = 0 if include_pad else self.before
        last = self.before + self.size + (self.after if include_pad else 0)
        inside: npt.NDArray[np.int64] = ((at >= first) & (at < last)).sum(axis=1)
        return inside


def axes(node: Node, height: int, width: int) -> tuple[Axis, Axis]:
    """Both axes of the windows over an input of this size; raises GraphError for impossible attributes."""
    attrs = node.attrs
    kernel = tuple(int(v) for v in attrs["kernel"])
    strides = tuple(int(v) for v in attrs.get("strides", (1, 1)))
    pads = tuple(int(v) for v in attrs.get("pads", (0, 0, 0, 0)))
    dilations = tuple(int(v) for v in attrs.get("dilations", (1, 1)))
    expect(
        (len(kernel), len(strides), len(pads), len(dilations)) == (2, 2, 4, 2)
        and min(kernel) > 0
        and min(strides) > 0
        and min(dilations) > 0,
        node,
        f"kernel {kernel}, strides {strides}, pads {pads}, dilations {dilations} are not a 2-D window",
    )
    expect(min(pads) >= 0, node, f"negative padding {pads}")
    sizes = (height, width)
    out = attrs.get("out_hw") or tuple(
        (sizes[a] + pads[a] + pads[a + 2] - (kernel[a] - 1) * dilations[a] - 1) // strides[a] + 1
        for a in (0, 1)
    )
    expect(min(out) > 0, node, f"the window is larger than the input of {height} x {width}")
    first, second = (
        Axis(sizes[a], int(out[a]), kernel[a], strides[a], dilations[a], pads[a], pads[a + 2]) for a in (0, 1)
    )
    return first, second


def geometry(shape: Shape, rows: Axis, columns: Axis) -> dict[str, FieldValue]:
    """The window fields of a pooling kernel's structure over an input of ``shape``."""
    return {
        "batch": shape[0],
        "height": rows.size,
        "width": columns.size,
        "channels": shape[3],
        "out_height": rows.out,
        "out_width": columns.out,
        "kernel_height": rows.kernel,
        "kernel_width": columns.kernel,
        "stride_height": rows.stride,
        "stride_width": columns.stride,
        "dilation_height": rows.dilation,
        "dilation_width": columns.dilation,
        "pad_top": rows.before,
        "pad_left": columns.before,
        "pad_bottom": rows.after,
        "pad_right": columns.after,
    }


def _taps(rows: Axis, columns: Axis) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Taps in index order: number, the results that have it, the inputs it is at (both of 4 axes)."""
    everything = slice(None)
    for i, (out_rows, in_rows) in enumerate(rows.taps()):
        for j, (out_columns, in_columns) in enumerate(columns.taps()):
            yield (
                i * columns.kernel + j,
                (everything, out_rows, out_columns, everything),
                (everything, in_rows, in_columns, everything),
            )


def _image(node: Node, inputs: list[Tensor | None], index: int = 0) -> Tensor:
    x = required(node, inputs, index)
    expect(len(x.shape) == 4, node, f"input of shape {list(x.shape)} is not [N, H, W, C]")
    expect(x.dtype != "i32", node, "the operand is of integers")
    return x


class _Pool2d(Op):
    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x = _image(node, inputs)
        rows, columns = axes(node, x.shape[1], x.shape[2])
        return [((x.shape[0], rows.out, columns.out, x.shape[3]), x.dtype)]


@register
class MaxPool2d(_Pool2d):
    """y[N,Ho,Wo,C] = the largest element of each window of x[N,H,W,C]; padding never is, NaN always."""

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        best = np.full(outputs[0].shape, -np.inf, np.float32)
        for _, at, tap in _taps(*axes(node, x.shape[1], x.shape[2])):
            known, value = best[at], x[tap]
            best[at] = np.where((known >= value) | np.isnan(known), known, value)
        return [narrow(best, NUMPY_DTYPES[outputs[0].dtype])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            g.accumulate(x, g.emit("MaxPool2dGradient", [x, dy], node.attrs, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, y = required(node, inputs, 0), outputs[0]
        window = geometry(x.shape, *axes(node, x.shape[1], x.shape[2]))
        return KernelCall("max_pool2d", y.dtype, {"x": pointer(x), "y": pointer(y), **window})


@register
class MaxPool2dGradient(Op):
    """dx[N,H,W,C] from x and dy[N,Ho,Wo,C].

    A window's dy goes to its first largest element (its first NaN if it has
    one), as in ONNX Runtime.  An element's windows are summed in FP32 in
    index order and rounded once.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, dy = _image(node, inputs), _image(node, inputs, 1)
        rows, columns = axes(node, x.shape[1], x.shape[2])
        expect(
            (dy.shape, dy.dtype) == ((x.shape[0], rows.out, columns.out, x.shape[3]), x.dtype),
            node,
            f"gradient {dy.dtype}{list(dy.shape)} does not fit the windows of {x.dtype}{list(x.shape)}",
            "report this as a bug",
        )
        return [(x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, dy = widen(present(inputs, 0)), widen(present(inputs, 1))
        window = axes(node, x.shape[1], x.shape[2])
        best = np.full(dy.shape, -np.inf, np.float32)
        winner = np.full(dy.shape, -1, np.int32)
        for tap, at, where in _taps(*window):
            known, value = best[at], x[where]
            better = (winner[at] < 0) | ~((known >= value) | np.isnan(known))
            best[at] = np.where(better, value, known)
            winner[at] = np.where(better, np.int32(tap), winner[at])
        dx = np.zeros(x.shape, np.float32)
        with np.errstate(all="ignore"):
            # A later window has the same element at an earlier tap: this is the windows' index order.
            for tap, at, where in reversed(list(_taps(*window))):
                dx[where] += np.where(winner[at] == tap, dy[at], np.float32(0))
        return [narrow(dx, NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, dx = required(node, inputs, 0), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(x=x, dy=inputs[1], dx=dx),
            **geometry(x.shape, *axes(node, x.shape[1], x.shape[2])),
        }
        return KernelCall("max_pool2d_gradient", dx.dtype, fields)


def _counts(node: Node, rows: Axis, columns: Axis) -> npt.NDArray[np.float32]:
    """What each window's sum is divided by: [Ho, Wo, 1]."""
    include_pad = bool(node.attrs.get("count_include_pad", 0))
    counts = rows.counts(include_pad)[:, None] * columns.counts(include_pad)[None, :]
    divisors: npt.NDArray[np.float32] = np.maximum(counts, 1).astype(np.float32)[:, :, None]
    return divisors


@register
class AveragePool2d(_Pool2d):
    """y[N,Ho,Wo,C] = the mean of each window of x[N,H,W,C].

    Summed in FP32 in tap order, divided by the number of taps inside x (and
    its padding, with ``count_include_pad``), rounded once.
    """

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x = widen(present(inputs, 0))
        window = axes(node, x.shape[1], x.shape[2])
        total = np.zeros(outputs[0].shape, np.float32)
        with np.errstate(all="ignore"):
            for _, at, tap in _taps(*window):
                total[at] += x[tap]
            return [narrow(total / _counts(node, *window), NUMPY_DTYPES[outputs[0].dtype])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        x, dy = node.inputs[0], dys[0]
        assert dy is not None
        if g.needs(x):
            attrs = {**node.attrs, "input_hw": tuple(g.tensor(x).shape[1:3])}
            g.accumulate(x, g.emit("AveragePool2dGradient", [dy], attrs, node=node))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, y = required(node, inputs, 0), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(x=x, y=y),
            "count_include_pad": int(bool(node.attrs.get("count_include_pad", 0))),
            **geometry(x.shape, *axes(node, x.shape[1], x.shape[2])),
        }
        return KernelCall("average_pool2d", y.dtype, fields)


@register
class AveragePool2dGradient(Op):
    """dx[N,H,W,C] from dy[N,Ho,Wo,C]; attr ``input_hw`` is (H, W).

    An element's shares dy / count of its windows are summed in FP32 in index
    order and rounded once.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy = _image(node, inputs)
        height, width = (int(v) for v in node.attrs["input_hw"])
        rows, columns = axes(node, height, width)
        expect(
            dy.shape[1:3] == (rows.out, columns.out),
            node,
            f"gradient {list(dy.shape)} does not fit the windows of {height} x {width}",
            "report this as a bug",
        )
        return [((dy.shape[0], height, width, dy.shape[3]), dy.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dx = np.zeros(outputs[0].shape, np.float32)
        window = axes(node, dx.shape[1], dx.shape[2])
        with np.errstate(all="ignore"):
            share = widen(present(inputs, 0)) / _counts(node, *window)
            # A later window has the same element at an earlier tap: this is the windows' index order.
            for _, at, where in reversed(list(_taps(*window))):
                dx[where] += share[at]
        return [narrow(dx, NUMPY_DTYPES[outputs[0].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dx = outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(dy=inputs[0], dx=dx),
            "count_include_pad": int(bool(node.attrs.get("count_include_pad", 0))),
            **geometry(dx.shape, *axes(node, dx.shape[1], dx.shape[2])),
        }
        return KernelCall("average_pool2d_gradient", dx.dtype, fields)
