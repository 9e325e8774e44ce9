"""Geometry of sliding windows in NHWC: sizes, and views of the elements that windows meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcutrain.ir import Array, Node
from mcutrain.ops.base import FieldValue, expect


@dataclass(frozen=True)
class Window:
    """A kernel sliding over an input of ``height`` x ``width``, all sizes in elements.

    pads: top, left, bottom, right zeros around the input.
    """

    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]

    @classmethod
    def of(cls, node: Node, height: int, width: int, kernel: tuple[int, int]) -> Window:
        """From the attributes strides, pads and dilations; raises GraphError where they make no sense."""
        attrs = node.attrs
        window = cls(
            height,
            width,
            kernel,
            _two(attrs.get("strides", (1, 1))),
            _four(attrs.get("pads", (0, 0, 0, 0))),
            _two(attrs.get("dilations", (1, 1))),
        )
        expect(
            min(*window.strides, *window.dilations, *kernel) >= 1,
            node,
            "kernel, strides and dilations must be positive",
        )
        expect(min(window.pads) >= 0, node, f"pads {window.pads} are negative")
        expect(
            min(window.output) >= 1,
            node,
            f"the kernel {kernel} is larger than the padded input {height}x{width}",
        )
        return window

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self._positions(0), self._positions(1)

    def _positions(self, axis: int) -> int:
        size = (self.height, self.width)[axis] + self.pads[axis] + self.pads[axis + 2]
        return (size - self.dilations[axis] * (self.kernel[axis] - 1) - 1) // self.strides[axis] + 1

    def offsets(self) -> list[tuple[int, int]]:
        """All (row, column) offsets of the kernel, in order."""
        return [(kh, kw) for kh in range(self.kernel[0]) for kw in range(self.kernel[1])]

    def inputs(self, x: Array) -> Array:
        """x [N, H, W, C] -> [kh*kw, N, Ho, Wo, C]: what each kernel offset meets, zeros in the padding."""
        top, left, bottom, right = self.pads
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        out_h, out_w = self.output
        parts = []
        for kh, kw in self.offsets():
            row, column = kh * self.dilations[0], kw * self.dilations[1]
            rows = slice(row, row + (out_h - 1) * self.strides[0] + 1, self.strides[0])
            columns = slice(column, column + (out_w - 1) * self.strides[1] + 1, self.strides[1])
            parts.append(padded[:, rows, columns])
        return np.stack(parts)

    def outputs(self, dy: Array) -> Array:
        """dy [N, Ho, Wo, C] -> [kh*kw, N, H, W, C]: what each input pixel meets, zeros off the grid."""
        met = np.zeros(
            (self.kernel[0] * self.kernel[1], len(dy), self.height, self.width, dy.shape[-1]), dy.dtype
        )
        for tap, (kh, kw) in enumerate(self.offsets()):
            (rows, rows_out), (columns, columns_out) = self._met(0, kh), self._met(1, kw)
            met[tap][:, rows, columns] = dy[:, rows_out, columns_out]
        return met

    def _met(self, axis: int, k: int) -> tuple[slice, slice]:
        """Input positions that kernel offset k meets, and the outputs it meets them for."""
        size, count, stride = (self.height, self.width)[axis], self.output[axis], self.strides[axis]
        shift = k * self.dilations[axis] - self.pads[axis]  # input = output * stride + shift
        first = max(0, -(shift // stride))
        last = min(count, (size - 1 - shift) // stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        return slice(first * stride + shift, (last - 1) * stride + shift + 1, stride), slice(first, last)

    def fields(self) -> dict[str, FieldValue]:
        """The geometry's structure fields, as the kernels name them."""
        out_h, out_w = self.output
        return {
            "height": self.height,
            "width": self.width,
            "out_height": out_h,
            "out_width": out_w,
            "kernel_h": self.kernel[0],
            "kernel_w": self.kernel[1],
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
            "dilation_h": self.dilations[0],
            "dilation_w": self.dilations[1],
            "pad_top": self.pads[0],
            "pad_left": self.pads[1],
        }

    @property
    def pointwise(self) -> bool:
        """Whether every output pixel is made of its own input pixel."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.pads)


def window_attrs(node: Node) -> dict[str, Any]:
    """The attributes that a window's gradients share with it."""
    return {
        name: node.attrs[name] for name in ("strides", "pads", "dilations", "group") if name in node.attrs
    }


def _two(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _four(values: Any) -> tuple[int, int, int, int]:
    top, left, bottom, right = values
    return int(top), int(left), int(bottom), int(right)
