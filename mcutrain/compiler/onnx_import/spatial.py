"""Convolution and pooling: the only operators with a layout of their own (channels last)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, Shape, handles


@dataclass(frozen=True)
class Windows:
    """How a kernel moves over height and width; one-dimensional data have height 1."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    #: top, left, bottom, right
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    out_hw: tuple[int, int]


def image_shape(ctx: Importer, node: OnnxNode) -> Shape:
    """Shape [N, C, W] or [N, C, H, W] of input 0."""
    shape = ctx.shape(node, 0)
    node.require(
        len(shape) >= 3, f"its input has {len(shape)} axes: batch, channels and spatial axes are needed"
    )
    if len(shape) > 4:
        raise node.unsupported(
            f"{len(shape) - 2}-D data are not supported", "use 1-D or 2-D convolution and pooling"
        )
    return shape


def to_channels_last(ctx: Importer, node: OnnxNode, name: str) -> str:
    """[N, C, H, W] → [N, H, W, C]; [N, C, W] → [N, 1, W, C]."""
    shape = ctx.graph.tensors[name].shape
    if len(shape) == 4:
        return ctx.transpose(node, name, (0, 2, 3, 1))
    batch, channels, width = shape
    return ctx.reshape(node, ctx.transpose(node, name, (0, 2, 1)), (batch, 1, width, channels))


def to_channels_first(ctx: Importer, node: OnnxNode, name: str, rank: int) -> str:
    """The inverse, to a tensor of ``rank`` axes."""
    if rank == 4:
        return ctx.transpose(node, name, (0, 3, 1, 2))
    batch, _, width, channels = ctx.graph.tensors[name].shape
    return ctx.transpose(node, ctx.reshape(node, name, (batch, width, channels)), (0, 2, 1))


def windows(node: OnnxNode, size: Shape, kernel: Shape) -> Windows:
    """Strides, padding and output size from the attributes; ``size`` and ``kernel`` have one or two axes."""
    axes = len(size)
    strides = _list(node, "strides", axes, (1,) * axes)
    dilations = _list(node, "dilations", axes, (1,) * axes)
    pads = _list(node, "pads", 2 * axes, (0,) * (2 * axes))
    node.require(min((*strides, *dilations, *kernel)) > 0, "strides, dilations and kernel must be positive")
    if min(pads) < 0:
        raise node.unsupported(
            f"attribute 'pads' = {pads}: cropping is not supported", "crop with a layer before"
        )
    mode = node.attr("auto_pad", "NOTSET")
    node.require(mode in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"attribute 'auto_pad' = {mode!r}")
    up = bool(node.attr("ceil_mode", 0))
    begin, end, out = [], [], []
    for axis in range(axes):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        stride, length = strides[axis], size[axis]
        if mode.startswith("SAME"):
            count = -(-length // stride)
            total = max((count - 1) * stride + reach - length, 0)
            first = total // 2 if mode == "SAME_UPPER" else total - total // 2
            last = total - first
        else:
            first, last = (0, 0) if mode == "VALID" else (pads[axis], pads[axes + axis])
            room = length + first + last - reach
            node.require(
                room >= 0, f"its kernel reaches over {reach} elements, its padded input has {reach + room}"
            )
            count = (-(-room // stride) if up else room // stride) + 1
            if up and (count - 1) * stride >= length + first:
                count -= 1  # a window must not start in the padding after the data
        begin.append(first)
        end.append(last)
        out.append(count)
    if axes == 1:
        return Windows(
            (1, kernel[0]), (1, strides[0]), (0, begin[0], 0, end[0]), (1, dilations[0]), (1, out[0])
        )
    return Windows(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (begin[0], begin[1], end[0], end[1]),
        (dilations[0], dilations[1]),
        (out[0], out[1]),
    )


def _list(node: OnnxNode, name: str, length: int, default: Shape) -> Shape:
    value = tuple(int(v) for v in node.attr(name, default))
    node.require(len(value) == length, f"attribute '{name}' has {len(value)} elements, not {length}")
    return value


@handles("Conv")
def conv(ctx: Importer, node: OnnxNode) -> None:
    """Conv2d, or DepthwiseConv2d where every channel has its own filter."""
    shape, weight_shape = image_shape(ctx, node), ctx.shape(node, 1)
    rank = len(shape)
    channels_in, group = shape[1], int(node.attr("group", 1))
    if not ctx.is_static(node, 1):
        raise node.unsupported("its weight depends on the model's input", "make the weight an initializer")
    node.require(len(weight_shape) == rank, f"its weight has {len(weight_shape)} axes, its input {rank}")
    channels_out, per_group, *kernel = weight_shape
    node.require(
        group > 0 and per_group * group == channels_in,
        f"{group} groups of {per_group} channels for {channels_in}",
    )
    node.require(
        channels_out % group == 0, f"attribute 'group' = {group} does not divide {channels_out} channels"
    )
    given = tuple(node.attr("kernel_shape", kernel))
    node.require(
        given == tuple(kernel), f"attribute 'kernel_shape' = {given}, but the weight's is {tuple(kernel)}"
    )
    w = windows(node, shape[2:], tuple(kernel))

    x = to_channels_last(ctx, node, ctx.tensor(node, 0))
    weight = ctx.tensor(node, 1, trained=True)
    attrs: dict[str, Any] = {
        "strides": w.strides,
        "pads": w.pads,
        "dilations": w.dilations,
        "activation": "none",
        "lo": 0.0,
        "hi": 0.0,
    }
    if group == channels_in == channels_out:
        op = "DepthwiseConv2d"
        weight = ctx.reshape(node, weight, (channels_out, *w.kernel))
        weight = ctx.transpose(node, weight, (1, 2, 0))
    else:
        op, attrs["group"] = "Conv2d", group
        weight = ctx.reshape(node, weight, (channels_out, per_group, *w.kernel))
        weight = ctx.transpose(node, weight, (0, 2, 3, 1))
    inputs = [x, weight]
    if node.has(2):
        node.require(ctx.shape(node, 2) == (channels_out,), f"its bias has shape {ctx.shape(node, 2)}")
        inputs.append(ctx.tensor(node, 2, trained=True))
    y = ctx.emit(node, op, inputs, (shape[0], *w.out_hw, channels_out), **attrs)
    ctx.bind(node, to_channels_first(ctx, node, y, rank))


@handles("MaxPool", "AveragePool")
def pool(ctx: Importer, node: OnnxNode) -> None:
    shape = image_shape(ctx, node)
    rank = len(shape)
    kernel = _list(node, "kernel_shape", rank - 2, ())
    w = windows(node, shape[2:], kernel)
    _expect_data_in_windows(node, shape, w)
    attrs: dict[str, Any] = {
        "kernel": w.kernel,
        "strides": w.strides,
        "pads": w.pads,
        "dilations": w.dilations,
        "out_hw": w.out_hw,
    }
    if node.op == "AveragePool":
        attrs["count_include_pad"] = int(node.attr("count_include_pad", 0))
    x = to_channels_last(ctx, node, ctx.tensor(node, 0))
    y = ctx.emit(node, f"{node.op}2d", [x], (shape[0], *w.out_hw, shape[1]), **attrs)
    ctx.bind(node, to_channels_first(ctx, node, y, rank))


def _expect_data_in_windows(node: OnnxNode, shape: Shape, w: Windows) -> None:
    size = (1, *shape[2:])[-2:]
    for axis in range(2):
        kernel, stride, dilation, pad = w.kernel[axis], w.strides[axis], w.dilations[axis], w.pads[axis]
        # windows wholly inside the data need no look: only those touching a border can be empty
        first = range(min(w.out_hw[axis], -(-pad // stride)))
        last = range(
            max(0, w.out_hw[axis] - -(-(w.pads[axis + 2] + kernel * dilation) // stride) - 1), w.out_hw[axis]
        )
        for i in (*first[:4096], *last[-4096:]):
            start = i * stride - pad
            taps = range(start, start + kernel * dilation, dilation)
            node.require(any(0 <= t < size[axis] for t in taps), "a window lies wholly in the padding")


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(ctx: Importer, node: OnnxNode) -> None:
    shape = image_shape(ctx, node)
    size = (1, *shape[2:])[-2:]
    attrs: dict[str, Any] = {
        "kernel": size,
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "out_hw": (1, 1),
    }
    op = "MaxPool2d"
    if node.op == "GlobalAveragePool":
        op, attrs["count_include_pad"] = "AveragePool2d", 0
    x = to_channels_last(ctx, node, ctx.tensor(node, 0))
    y = ctx.emit(node, op, [x], (shape[0], 1, 1, shape[1]), **attrs)
    ctx.bind(node, to_channels_first(ctx, node, y, len(shape)))


@handles("ReduceMean")
def reduce_mean(ctx: Importer, node: OnnxNode) -> None:
    """A mean over any axes, as an average pool over all of them at once."""
    shape = ctx.shape(node, 0)
    rank = len(shape)
    listed = ctx.integers(node, 1, "axes") if node.has(1) else tuple(node.attr("axes", ()))
    x = ctx.tensor(node, 0)
    if not listed and node.attr("noop_with_empty_axes", 0):
        ctx.bind(node, x)
        return
    node.require(all(-rank <= a < rank for a in listed), f"axes {listed} of {rank}")
    axes = sorted({a % rank for a in listed}) or list(range(rank))
    batch = [0] if 0 not in axes else []
    kept = [a for a in range(rank) if a not in axes and a not in batch]
    count = 1
    for axis in axes:
        count *= shape[axis]
    channels = 1
    for axis in kept:
        channels *= shape[axis]
    rows = shape[0] if batch else 1
    x = ctx.reshape(node, ctx.transpose(node, x, (*batch, *axes, *kept)), (rows, count, 1, channels))
    attrs: dict[str, Any] = {
        "kernel": (count, 1),
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "out_hw": (1, 1),
    }
    y = ctx.emit(node, "AveragePool2d", [x], (rows, 1, 1, channels), count_include_pad=0, **attrs)
    keep = node.attr("keepdims", 1)
    out = [1 if a in axes else d for a, d in enumerate(shape) if keep or a not in axes]
    ctx.bind(node, ctx.reshape(node, y, tuple(out)))
