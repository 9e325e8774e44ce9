"""Convolution with groups, and its two gradients, in NHWC.

A pointwise convolution (1x1, stride 1, no padding, one group) is a matrix
product over pixels in the same order of reduction, and calls those kernels.
"""

from __future__ import annotations

import math

import numpy as np

from mcutrain.ir import ITEM_SIZES, Array, Node, Tensor
from mcutrain.numerics import dot_nt, dot_tn
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
    dense_call,
    dot_rule,
    finish,
    squares,
    weight_gradient_call,
)
from mcutrain.ops.window import Window

#: Output pixels that conv2d_weight_gradient gathers at a time (MCT_CHUNK_PIXELS), four elements each.
_CHUNK_PIXELS = 64


@register
class Conv2d(Op):
    """``y = activation(x * w + b)``, reduction over (kh, kw, c_in).

    x: T [N, H, W, Ci]; w: T [Co, kh, kw, Ci/group]; b: f32 [Co], optional.
    y: T [N, Ho, Wo, Co].  attrs: strides, pads (top, left, bottom, right),
    dilations, group, activation (none, relu, clip), lo, hi.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        expect(
            len(x.shape) == 4 and len(w.shape) == 4, node, f"input {x.shape} or weight {w.shape} is not 2-D"
        )
        group = _group(node)
        expect(
            w.shape[3] * group == x.shape[3],
            node,
            f"weight {w.shape} in {group} groups does not fit input {x.shape}",
        )
        expect(
            w.shape[0] % group == 0, node, f"{w.shape[0]} output channels do not divide into {group} groups"
        )
        expect(x.dtype == w.dtype, node, f"input is {x.dtype}, weight {w.dtype}", "report this as a bug")
        check_bias(node, inputs, w.shape[0])
        return [((x.shape[0], *_window(node, x, w).output, w.shape[0]), x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, w, group = present(inputs, 0), present(inputs, 1), _group(node)
        met = _window(node, x, w).inputs(x)
        total = [
            dot_nt(_as_rows(met[..., c]), w[o].reshape(len(w[o]), -1))
            for c, o in zip(_parts(x.shape[3], group), _parts(len(w), group), strict=True)
        ]
        return [finish(node, np.concatenate(total, axis=1), optional(inputs, 2), outputs[0])]

    def gradient(self, node: Node, g: GradientBuilder, dys: list[str | None]) -> None:
        """dw = sum over pixels of dy (x) x, dx = dy * w transposed, db = sum over pixels of dy."""
        convolution_gradient(node, g, dys, lambda w: _transposed_weight(node, g, w))

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, w, y = required(node, inputs, 0), required(node, inputs, 1), outputs[0]
        window = _window(node, x, w)
        if window.pointwise and _group(node) == 1:
            return dense_call(
                node, inputs, y, batch=1, rows=math.prod(x.shape[:3]), columns=w.shape[0], depth=x.shape[3]
            )
        fields: dict[str, FieldValue] = {
            **pointers(x=x, w=w, bias=optional(inputs, 2), y=y),
            **_shape_fields(node, window, x.shape, y.shape, self.workspace(node, inputs, outputs)),
            **activation_fields(node),
        }
        return KernelCall("conv2d_forward", x.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        """The windows of four output pixels."""
        x, w = required(node, inputs, 0), required(node, inputs, 1)
        if _window(node, x, w).pointwise and _group(node) == 1:
            return 0
        return align(4 * math.prod(w.shape[1:]) * ITEM_SIZES[x.dtype])

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return outputs[0].size * math.prod(required(node, inputs, 1).shape[1:])


@register
class Conv2dInputGradient(Op):
    """``dx``, reduction over (kh, kw, c_out) ascending, with zeros where a tap meets no output.

    dy: T [N, Ho, Wo, Co]; wt: T [group, Ci/group, kh, kw, Co/group], the leading
    axis may be left out for one group.  dx: T [N, H, W, Ci].
    attrs: strides, pads, dilations, group of the convolution, input_hw.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        dy, wt = required(node, inputs, 0), required(node, inputs, 1)
        shape, group = _transposed_shape(node, wt.shape), _group(node)
        height, width = node.attrs["input_hw"]
        out = _gradient_window(node, wt.shape).output
        expect(
            dy.shape[1:] == (*out, shape[4] * group),
            node,
            f"gradient {dy.shape} does not fit weight {wt.shape}",
        )
        expect(
            dy.dtype == wt.dtype, node, f"gradient is {dy.dtype}, weight {wt.dtype}", "report this as a bug"
        )
        return [((dy.shape[0], int(height), int(width), shape[1] * group), dy.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        dy, wt = present(inputs, 0), present(inputs, 1)
        window, group = _gradient_window(node, wt.shape), _group(node)
        wt = wt.reshape(_transposed_shape(node, wt.shape))
        total = [
            dot_nt(_as_rows(window.outputs(dy[..., o])), wt[i].reshape(wt.shape[1], -1))
            for i, o in enumerate(_parts(dy.shape[3], group))
        ]
        return [finish(Node(node.op, (), ()), np.concatenate(total, axis=1), None, outputs[0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        dy, wt, dx = required(node, inputs, 0), required(node, inputs, 1), outputs[0]
        window = _gradient_window(node, wt.shape)
        if window.pointwise and _group(node) == 1:
            rows = math.prod(dy.shape[:3])
            return dense_call(node, inputs, dx, batch=1, rows=rows, columns=dx.shape[3], depth=dy.shape[3])
        fields: dict[str, FieldValue] = {
            **pointers(dy=dy, wt=wt, dx=dx),
            **_shape_fields(node, window, dx.shape, dy.shape, self.workspace(node, inputs, outputs)),
        }
        return KernelCall("conv2d_input_gradient", dy.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        """The output gradients that four pixels meet, and the list of runs of taps (two words each)."""
        wt = required(node, inputs, 1)
        if _gradient_window(node, wt.shape).pointwise and _group(node) == 1:
            return 0
        kernel_h, kernel_w, outputs_per_group = wt.shape[-3:]
        taps = kernel_h * kernel_w
        return align(4 * taps * outputs_per_group * ITEM_SIZES[wt.dtype]) + align(8 * (taps // 2 + 1))

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        dy, wt = required(node, inputs, 0), required(node, inputs, 1)
        return dy.size * math.prod(wt.shape[-4:-1])


@register
class Conv2dWeightGradient(Op):
    """``acc += dy (x) x``, reduction over (n, h_out, w_out), continuing from the stored acc.

    x: T [N, H, W, Ci]; dy: T [N, Ho, Wo, Co]; acc: f32 [Co, kh, kw, Ci/group], in place.
    attrs: strides, pads, dilations, group of the convolution; squares: acc += g² of the gradient g from
    zero on.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, dy, acc = (required(node, inputs, i) for i in range(3))
        out = (x.shape[0], *_window(node, x, acc).output, acc.shape[0])
        expect(dy.shape == out, node, f"gradient {dy.shape} does not fit input {x.shape}")
        expect(
            acc.shape[3] * _group(node) == x.shape[3],
            node,
            f"accumulator {acc.shape} does not fit input {x.shape}",
        )
        expect(
            acc.dtype == "f32" and x.dtype == dy.dtype, node, "wrong element types", "report this as a bug"
        )
        return [(acc.shape, "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, dy, acc = (present(inputs, i) for i in range(3))
        group = _group(node)
        met = _window(node, x, acc).inputs(x)
        dy = dy.reshape(-1, dy.shape[3])

        def gradient(start: Array) -> Array:
            total = [
                dot_tn(dy[:, o], _as_rows(met[..., c]), start[o].reshape(len(start[o]), -1))
                for c, o in zip(_parts(x.shape[3], group), _parts(len(acc), group), strict=True)
            ]
            return np.concatenate(total).reshape(acc.shape)

        return [accumulated(node, acc, gradient)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x, dy, acc = (required(node, inputs, i) for i in range(3))
        window = _window(node, x, acc)
        if window.pointwise and _group(node) == 1:
            rows = math.prod(x.shape[:3])
            return weight_gradient_call(
                node, inputs, batch=1, rows=rows, columns=acc.shape[0], depth=x.shape[3]
            )
        fields: dict[str, FieldValue] = {
            **pointers(x=x, dy=dy, acc=acc),
            **_shape_fields(node, window, x.shape, dy.shape, self.workspace(node, inputs, outputs)),
            "squares": squares(node),
        }
        return KernelCall("conv2d_weight_gradient", x.dtype, fields)

    def workspace(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        """Four elements of the windows of a chunk of pixels."""
        x, acc = required(node, inputs, 0), required(node, inputs, 2)
        if _window(node, x, acc).pointwise and _group(node) == 1:
            return 0
        return 4 * _CHUNK_PIXELS * ITEM_SIZES[x.dtype]

    def accumulation(self, node: Node, dtype: str) -> str:
        return dot_rule(dtype)

    def macs(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        return required(node, inputs, 1).size * math.prod(required(node, inputs, 2).shape[1:])


def _group(node: Node) -> int:
    return int(node.attrs.get("group", 1))


def _window(node: Node, x: Array | Tensor, w: Array | Tensor) -> Window:
    return Window.of(node, x.shape[1], x.shape[2], (w.shape[1], w.shape[2]))


def _gradient_window(node: Node, wt: tuple[int, ...]) -> Window:
    height, width = node.attrs["input_hw"]
    return Window.of(node, int(height), int(width), (wt[-3], wt[-2]))


def _transposed_shape(node: Node, wt: tuple[int, ...]) -> tuple[int, ...]:
    shape = wt if len(wt) == 5 else (1, *wt)
    expect(
        len(shape) == 5 and shape[0] == _group(node),
        node,
        f"transposed weight {wt} does not have {_group(node)} groups",
    )
    return shape


def _transposed_weight(node: Node, g: GradientBuilder, w: str) -> str:
    """w [Co, kh, kw, Ci/group] -> [group, Ci/group, kh, kw, Co/group] (no leading axis for one group)."""
    group, shape = _group(node), g.tensor(w).shape
    if group == 1:
        return g.emit("Transpose", [w], {"perm": (3, 1, 2, 0)}, node=node)
    split = g.emit("Reshape", [w], {"shape": (group, shape[0] // group, *shape[1:])}, node=node)
    return g.emit("Transpose", [split], {"perm": (0, 4, 2, 3, 1)}, node=node)


def _parts(channels: int, group: int) -> list[slice]:
    size = channels // group
    return [slice(i * size, (i + 1) * size) for i in range(group)]


def _as_rows(met: Array) -> Array:
    """[taps, N, H, W, C] -> [N*H*W, taps*C], a matrix whose columns are contiguous."""
    return met.transpose(0, 4, 1, 2, 3).reshape(met.shape[0] * met.shape[4], -1).T


def _shape_fields(
    node: Node, window: Window, x: tuple[int, ...], y: tuple[int, ...], workspace: int
) -> dict[str, FieldValue]:
    return {
        "workspace": Pointer("workspace"),
        "workspace_stride": workspace,
        "batch": x[0],
        "channels": x[3],
        "out_channels": y[3],
        "groups": _group(node),
        **window.fields(),
        **tile_fields(node),
    }
