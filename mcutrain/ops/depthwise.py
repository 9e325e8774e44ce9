"""Depthwise convolution and its two gradients, in NHWC: one filter per channel."""

from __future__ import annotations

import math

from mcutrain.ir import ITEM_SIZES, Array, Node, Tensor
from mcutrain.numerics import dot
from mcutrain.ops.base import (
    FieldValue,
    GradientBuilder,
    KernelCall,
    Op,
    Pointer,
    TensorType,
    align,
    expect,
    optional,
    pointer,
    pointers,
    present,
    register,
    required,
    tile_fields,
)
from mcutrain.ops.convolution_gradient import convolution_gradient
from mcutrain.ops.dense import (
    accumulated,
    activation_fields,
    check_bias,
    dot_rule,
    finish,
    squares,
)
from mcutrain.ops.depthwise_plan import NO_PLAN, plan, takes, usual
from mcutrain.ops.window import Window

#: Bytes that depthwise_block.h needs for two taps (MCT_TAP_PAIR_BYTES).
_TAP_PAIR_BYTES = 32


@register
class DepthwiseConv2d(Op):
    """``y[..., c] = activation(x[..., c] * w[..., c] + b[c])``, reduction over (kh, kw).

    x: T [N, H, W, C]; w: T [kh, kw, C]; b: f32 [C], optional.  y: T [N, Ho, Wo, C].
    attrs: strides, pads (top, left, bottom, right), dilations, activation, lo, hi.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        expect(
            len(x.shape) == 4 and len(w.shape) == 3, node, f"input {x.shape} or weight {w.shape} is not 2-D"
        )
        expect(x.shape[3] == w.shape[2], node, f"weight {w.shape} does not fit input {x.shape}")
        expect(x.dtype == w.dtype, node, f"input is {x.dtype}, weight {w.dtype}", "report this as a bug")
        check_bias(node, inputs, w.shape[2])
        return [((x.shape[0], *_window(node, x, w).output, x.shape[3]), x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, w = present(inputs, 0), present(inputs, 1)
        total = _pixelwise(_window(node, x, w).inputs(x), w)
        return [finish(node, total, optional(inputs, 2), outputs[0])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        """dw = sum over pixels of dy . x, dx = dy * w reversed, db = sum of dy; each per channel."""
        convolution_gradient(node, g, dys, lambda w: w)

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, w, y = required(node, inputs, 0), required(node, inputs, 1), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(x=x, y=y, w=w, bias=optional(inputs, 2)),
            **_shape_fields(node, _window(node, x, w), x.shape),
            **_workspace_fields(w),
            **activation_fields(node),
        }
        return _planned("depthwise_forward", node, x.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return _workspace(required(node, inputs, 1))

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return outputs[0].size * math.prod(required(node, inputs, 1).shape[:2])


@register
class DepthwiseConv2dInputGradient(Op):
    """``dx``, reduction over (kh, kw) ascending, with zeros where a tap meets no output.

    dy: T [N, Ho, Wo, C]; w: T [kh, kw, C].  dx: T [N, H, W, C].
    attrs: strides, pads, dilations of the convolution, input_hw.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy, w = required(node, inputs, 0), required(node, inputs, 1)
        window = _gradient_window(node, w)
        expect(
            dy.shape[1:] == (*window.output, w.shape[2]),
            node,
            f"gradient {dy.shape} does not fit weight {w.shape}",
        )
        expect(dy.dtype == w.dtype, node, f"gradient is {dy.dtype}, weight {w.dtype}", "report this as a bug")
        return [((dy.shape[0], window.height, window.width, w.shape[2]), dy.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dy, w = present(inputs, 0), present(inputs, 1)
        total = _pixelwise(_gradient_window(node, w).outputs(dy), w)
        return [finish(Node(node.op, (), ()), total, None, outputs[0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dy, w, dx = required(node, inputs, 0), required(node, inputs, 1), outputs[0]
        fields: dict[str, FieldValue] = {
            **pointers(dy=dy, w=w, dx=dx),
            **_shape_fields(node, _gradient_window(node, w), dx.shape),
            **_workspace_fields(w),
        }
        return _planned("depthwise_input_gradient", node, dy.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return _workspace(required(node, inputs, 1))

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 0).size * math.prod(required(node, inputs, 1).shape[:2])


@register
class DepthwiseConv2dWeightGradient(Op):
    """``acc[kh, kw, c] += sum of dy[..., c] * x[..., c]`` over (n, h_out, w_out), from the stored acc on.

    x: T [N, H, W, C]; dy: T [N, Ho, Wo, C]; acc: f32 [kh, kw, C], in place.
    attrs: strides, pads, dilations of the convolution; squares: acc += g² of the gradient g from zero on.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, dy, acc = (required(node, inputs, i) for i in range(3))
        out = (x.shape[0], *_window(node, x, acc).output, acc.shape[2])
        expect(
            dy.shape == out and x.shape[3] == acc.shape[2],
            node,
            f"gradient {dy.shape} does not fit input {x.shape}",
        )
        expect(
            acc.dtype == "f32" and x.dtype == dy.dtype, node, "wrong element types", "report this as a bug"
        )
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, dy, acc = (present(inputs, i) for i in range(3))
        channels = acc.shape[2]
        met = _window(node, x, acc).inputs(x).reshape(-1, dy.size // channels, channels)

        def gradient(start: Array) -> Array:
            rows = start.reshape(-1, channels)
            return dot(met.transpose(1, 0, 2), dy.reshape(-1, 1, channels), rows).reshape(acc.shape)

        return [accumulated(node, acc, gradient)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, dy, acc = (required(node, inputs, i) for i in range(3))
        fields: dict[str, FieldValue] = {
            **pointers(x=x, dy=dy),
            "begin": Pointer("") if squares(node) else pointer(acc),
            "acc": pointer(acc),
            **_shape_fields(node, _window(node, x, acc), x.shape),
        }
        return _planned("depthwise_weight_gradient", node, x.dtype, fields)

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 1).size * math.prod(required(node, inputs, 2).shape[:2])


def _window(node: Node, x: Array | Tensor, w: Array | Tensor) -> Window:
    return Window.of(node, x.shape[1], x.shape[2], (w.shape[0], w.shape[1]))


def _gradient_window(node: Node, w: Array | Tensor) -> Window:
    height, width = node.attrs["input_hw"]
    return Window.of(node, int(height), int(width), (w.shape[0], w.shape[1]))


def _pixelwise(met: Array, w: Array) -> Array:
    """met [taps, N, H, W, C] and w [kh, kw, C] -> f32 [N*H*W, C]."""
    channels = w.shape[2]
    return dot(met.reshape(len(met), -1, channels), w.reshape(len(met), 1, channels))


def _workspace(w: Tensor) -> int:
    """The taps of one pixel, in pairs, and a row of zeros."""
    taps = math.prod(w.shape[:2])
    return align((taps + 1) // 2 * _TAP_PAIR_BYTES + w.shape[2] * ITEM_SIZES[w.dtype])


def _workspace_fields(w: Tensor) -> dict[str, FieldValue]:
    return {"workspace": Pointer("workspace"), "workspace_stride": _workspace(w)}


def _shape_fields(node: Node, window: Window, x: tuple[int, ...]) -> dict[str, FieldValue]:
    return {"batch": x[0], "channels": x[3], **window.fields(), **tile_fields(node)}


def _planned(kernel: str, node: Node, dtype: str, fields: dict[str, FieldValue]) -> KernelCall:
    """The call with the plan of its tiles, for the tiled kernel in binary16; portable ones ignore it."""
    shape = {name: value for name, value in fields.items() if isinstance(value, int)}
    rows, columns = shape["tile_rows"], shape["tile_columns"]
    # behind the addresses that the structures begin with, which are as many as the plan expects but for one
    head: tuple[int, ...] = () if kernel == "depthwise_forward" else (0,)
    words = NO_PLAN
    if dtype == "f16" and takes(kernel, shape):
        bias = fields.get("bias")
        biased = isinstance(bias, Pointer) and bool(bias.tensor)
        made = plan(kernel, shape, biased, rows, columns) if rows else usual(kernel, shape, biased)
        words = made.words()
    return KernelCall(kernel, dtype, {**fields, "plan": head + words})
