"""Operators that move or rename elements, or do nothing at inference."""

from __future__ import annotations

import math

import onnx

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, Shape, handles


@handles("Identity")
def identity(ctx: Importer, node: OnnxNode) -> None:
    ctx.bind(node, ctx.tensor(node, 0))


@handles("Dropout")
def dropout(ctx: Importer, node: OnnxNode) -> None:
    """Identity: training on the device is without dropout."""
    if node.has(2) and ctx.static(node, 2, "training mode").any():
        raise node.unsupported("input 'training_mode' is true", "export the model in inference mode")
    ctx.bind(node, ctx.tensor(node, 0))


@handles("Cast")
def cast(ctx: Importer, node: OnnxNode) -> None:
    if node.attr("to", 0) != onnx.TensorProto.FLOAT:
        raise node.unsupported(
            "an activation is cast to another type than FLOAT", "export the model in float32"
        )
    ctx.bind(node, ctx.tensor(node, 0))


@handles("Flatten")
def flatten(ctx: Importer, node: OnnxNode) -> None:
    shape = ctx.shape(node, 0)
    axis = int(node.attr("axis", 1))
    node.require(-len(shape) <= axis <= len(shape), f"attribute 'axis' = {axis} of {len(shape)} axes")
    axis = axis + len(shape) if axis < 0 else axis
    target = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    ctx.bind(node, ctx.reshape(node, ctx.tensor(node, 0), target))


@handles("Reshape")
def reshape(ctx: Importer, node: OnnxNode) -> None:
    shape, wanted = ctx.shape(node, 0), ctx.integers(node, 1, "shape")
    target = _reshaped(node, shape, wanted)
    ctx.bind(node, ctx.reshape(node, ctx.tensor(node, 0), target))


def _reshaped(node: OnnxNode, shape: Shape, wanted: Shape) -> Shape:
    """0 copies the axis (without 'allowzero'), -1 is what remains."""
    target = list(wanted)
    if not node.attr("allowzero", 0):
        node.require(
            all(d != 0 or i < len(shape) for i, d in enumerate(target)), f"shape {wanted} of {shape}"
        )
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    node.require(target.count(-1) <= 1 and min(target, default=1) >= -1, f"its shape is {wanted}")
    known = math.prod(d for d in target if d != -1)
    total = math.prod(shape)
    target = [total // known if d == -1 and known else d for d in target]
    node.require(
        math.prod(target) == total,
        f"{shape} cannot become {wanted}: the batch is 1, and a fixed batch in the shape must be too",
    )
    return tuple(target)


@handles("Transpose")
def transpose(ctx: Importer, node: OnnxNode) -> None:
    rank = len(ctx.shape(node, 0))
    perm = tuple(int(p) for p in node.attr("perm", tuple(reversed(range(rank)))))
    node.require(sorted(perm) == list(range(rank)), f"attribute 'perm' = {perm} of {rank} axes")
    ctx.bind(node, ctx.transpose(node, ctx.tensor(node, 0), perm))


def _axes(ctx: Importer, node: OnnxNode) -> Shape | None:
    if node.has(1):
        return ctx.integers(node, 1, "axes")
    axes = node.attr("axes", None)
    return None if axes is None else tuple(int(a) for a in axes)


@handles("Squeeze")
def squeeze(ctx: Importer, node: OnnxNode) -> None:
    shape = ctx.shape(node, 0)
    axes = _axes(ctx, node)
    if axes is None:
        axes = tuple(i for i, d in enumerate(shape) if d == 1)
    node.require(all(-len(shape) <= a < len(shape) for a in axes), f"axes {axes} of {shape}")
    dropped = {a % len(shape) for a in axes}
    node.require(all(shape[a] == 1 for a in dropped), f"axes {axes} of {shape} have more than one element")
    target = tuple(d for i, d in enumerate(shape) if i not in dropped)
    ctx.bind(node, ctx.reshape(node, ctx.tensor(node, 0), target))


@handles("Unsqueeze")
def unsqueeze(ctx: Importer, node: OnnxNode) -> None:
    shape = ctx.shape(node, 0)
    axes = _axes(ctx, node)
    node.require(axes is not None, "its axes are missing")
    rank = len(shape) + len(axes or ())
    node.require(all(-rank <= a < rank for a in axes or ()), f"axes {axes} of {rank}")
    new = {a % rank for a in axes or ()}
    node.require(len(new) == len(axes or ()), f"axes {axes} repeat one")
    old = iter(shape)
    ctx.bind(
        node, ctx.reshape(node, ctx.tensor(node, 0), tuple(1 if i in new else next(old) for i in range(rank)))
    )


@handles("Pad")
def pad(ctx: Importer, node: OnnxNode) -> None:
    """Zeros before and after each axis."""
    shape = ctx.shape(node, 0)
    rank = len(shape)
    mode = node.attr("mode", "constant")
    if mode != "constant":
        raise node.unsupported(f"attribute 'mode' = {mode!r} is not supported", "pad with zeros")
    value = ctx.scalar(node, 2, "value") if node.has(2) else float(node.attr("value", 0.0))
    if value != 0.0:
        raise node.unsupported(f"it pads with {value}", "pad with zeros")
    pads = ctx.integers(node, 1, "pads") if node.has(1) else tuple(int(p) for p in node.attr("pads", ()))
    axes = ctx.integers(node, 3, "axes") if node.has(3) else tuple(range(rank))
    node.require(len(pads) == 2 * len(axes), f"{len(pads)} pads for {len(axes)} axes")
    node.require(all(-rank <= a < rank for a in axes), f"axes {axes} of {rank}")
    if min(pads, default=0) < 0:
        raise node.unsupported(f"pads {pads}: cropping is not supported", "crop the input instead")
    begin, end = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begin[axis], end[axis] = pads[i], pads[len(axes) + i]
    x = ctx.tensor(node, 0)
    target = tuple(b + d + e for b, d, e in zip(begin, shape, end, strict=True))
    padded = x if target == shape else ctx.emit(node, "Pad", [x], target, begin=tuple(begin), end=tuple(end))
    ctx.bind(node, padded)
