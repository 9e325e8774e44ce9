"""Activations and arithmetic, element by element."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, Static, handles

_LARGEST = float(np.finfo(np.float32).max)


@handles("Relu", "Sigmoid", "Tanh")
def unary(ctx: Importer, node: OnnxNode) -> None:
    x = ctx.tensor(node, 0)
    ctx.bind(node, ctx.emit(node, node.op, [x], ctx.shape(node, 0)))


@handles("LeakyRelu")
def leaky_relu(ctx: Importer, node: OnnxNode) -> None:
    alpha = float(node.attr("alpha", 0.01))
    node.require(math.isfinite(alpha), f"attribute 'alpha' = {alpha}")
    if alpha < 0:
        raise node.unsupported(f"attribute 'alpha' = {alpha} is negative", "use a slope of 0 or more")
    x = ctx.tensor(node, 0)
    ctx.bind(node, ctx.emit(node, "LeakyRelu", [x], ctx.shape(node, 0), alpha=alpha))


@handles("Clip")
def clip(ctx: Importer, node: OnnxNode) -> None:
    """Limits as inputs; a missing or infinite one is no limit, and [0, inf) is Relu."""
    lo = ctx.scalar(node, 1, "minimum") if node.has(1) else float(node.attr("min", -math.inf))
    hi = ctx.scalar(node, 2, "maximum") if node.has(2) else float(node.attr("max", math.inf))
    node.require(not (math.isnan(lo) or math.isnan(hi)), f"its limits are {lo} and {hi}")
    x, shape = ctx.tensor(node, 0), ctx.shape(node, 0)
    lo = min(max(lo, -_LARGEST), _LARGEST)
    hi = min(max(hi, -_LARGEST), _LARGEST)
    if lo == -_LARGEST and hi == _LARGEST:
        ctx.bind(node, x)
    elif lo == 0.0 and hi == _LARGEST:
        ctx.bind(node, ctx.emit(node, "Relu", [x], shape))
    else:
        ctx.bind(node, ctx.emit(node, "Clip", [x], shape, lo=min(lo, hi), hi=hi))


@handles("Add", "Sub", "Mul", "Div")
def binary(ctx: Importer, node: OnnxNode) -> None:
    """NumPy broadcasting; an initializer of more than one element in Add or Mul is trained.

    So is the one element that Add adds to a layer of one output: its bias.
    """
    shapes = ctx.shape(node, 0), ctx.shape(node, 1)
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise node.invalid(f"its operands' shapes {shapes[0]} and {shapes[1]} do not broadcast") from None
    inputs: list[str] = []
    for i in range(2):
        value = ctx.value(node, i)
        trained = False
        if isinstance(value, Static) and not value.literal:
            several, bias = value.array.size > 1, value.array.shape == shape[-1:]
            trained = (node.op in ("Add", "Mul") and several) or (node.op == "Add" and bias)
        name = ctx.tensor(node, i, trained=trained)
        # a scalar is a tensor of one element: kernels have no tensors without axes
        inputs.append(
            ctx.reshape(node, name, (1,)) if ctx.graph.tensors[name].shape == () and shape else name
        )
    ctx.bind(node, ctx.emit(node, node.op, inputs, shape))
