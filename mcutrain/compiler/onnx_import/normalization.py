"""Softmax and batch normalization."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, handles


@handles("Softmax", "LogSoftmax")
def softmax(ctx: Importer, node: OnnxNode) -> None:
    """Along one axis; before opset 13 over all axes from ``axis`` on at once."""
    shape = ctx.shape(node, 0)
    rank = len(shape)
    axis = int(node.attr("axis", -1 if ctx.opset >= 13 else 1))
    node.require(
        rank > 0 and -rank <= axis < rank + (ctx.opset < 13), f"attribute 'axis' = {axis} of {rank} axes"
    )
    x = ctx.tensor(node, 0)
    axis = axis if axis == rank else axis % rank
    if ctx.opset >= 13 or axis == rank - 1:
        ctx.bind(node, ctx.emit(node, node.op, [x], shape, axis=axis))
        return
    rows, columns = math.prod(shape[:axis]), math.prod(shape[axis:])
    x = ctx.reshape(node, x, (rows, columns))
    y = ctx.emit(node, node.op, [x], (rows, columns), axis=1)
    ctx.bind(node, ctx.reshape(node, y, shape))


@handles("BatchNormalization")
def batch_normalization(ctx: Importer, node: OnnxNode) -> None:
    """With the statistics of the model, frozen; :mod:`mcutrain.compiler.passes.fold` folds it away."""
    shape = ctx.shape(node, 0)
    node.require(len(shape) >= 2, "its input has no channel axis")
    if node.attr("training_mode", 0):
        raise node.unsupported(
            "attribute 'training_mode': batch statistics are not supported",
            "export the model in inference mode",
        )
    for i, what in enumerate(("scale", "bias", "mean", "variance"), 1):
        values = ctx.static(node, i, what)
        node.require(values.shape == (shape[1],), f"its {what} has shape {values.shape}, not ({shape[1]},)")
        node.require(bool(np.all(np.isfinite(values))), f"its {what} has elements that are not finite")
    epsilon = float(node.attr("epsilon", 1e-5))
    variance = ctx.static(node, 4, "variance").astype(np.float64)
    node.require(
        math.isfinite(epsilon) and bool(np.all(variance + epsilon > 0)),
        "its variance plus epsilon is not positive",
    )
    operands = [ctx.tensor(node, i) for i in range(5)]
    y = ctx.emit(
        node, "BatchNormalization", operands, shape, axis=1, epsilon=epsilon, onnx_output=node.outputs[0]
    )
    ctx.bind(node, y)
