"""Fold: do once, at compile time, what does not depend on the input.

:func:`fold_views` lays parameters and constants out as their users want them;
:func:`fold_batch_norms` works batch normalization, with its statistics frozen,
into the weights in front of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mcutrain.ir import Array, Graph, LayoutStep, Node, Origin, Tensor

#: Axis of the output channels in each operator's weight.
_CHANNEL_AXIS = {"Conv2d": 0, "DepthwiseConv2d": -1, "Dense": 0}


def fold_views(graph: Graph) -> Graph:
    """Apply Transposes and Reshapes of parameters and constants to their data.

    A parameter is laid out anew only when that is its only use; the step is
    added to its origin.  A constant is copied for each user that wants it differently.
    """
    result = graph.copy()
    changed = True
    while changed:
        changed = False
        uses = result.consumers()
        for node in result.nodes:
            if node.op not in ("Transpose", "Reshape"):
                continue
            tensor = result.tensors[node.inputs[0]]
            if tensor.kind not in ("parameter", "constant") or node.outputs[0] in result.outputs:
                continue
            alone = len(uses[tensor.name]) == 1 and tensor.name not in result.outputs
            if tensor.kind == "parameter" and not alone:
                continue
            result.nodes.remove(node)
            moved = _laid_out(tensor, node)
            if not alone:
                moved = replace(moved, name=result.unique_name(tensor.name))
            result.tensors[moved.name] = moved
            rename(result, node.outputs[0], moved.name)
            changed = True
            break
    return result


def rename(graph: Graph, old: str, new: str) -> None:
    """Let every reader of ``old`` read ``new``; ``old`` is forgotten."""
    graph.nodes = [
        replace(node, inputs=tuple(new if name == old else name for name in node.inputs))
        if old in node.inputs
        else node
        for node in graph.nodes
    ]
    graph.outputs = [new if name == old else name for name in graph.outputs]
    graph.tensors.pop(old, None)


def _laid_out(tensor: Tensor, node: Node) -> Tensor:
    if node.op == "Transpose":
        step = LayoutStep("transpose", tuple(node.attrs["perm"]))
    else:
        step = LayoutStep("reshape", tuple(node.attrs["shape"]))
    assert tensor.data is not None
    data = Origin("", tensor.shape, (step,)).to_device(tensor.data)
    origin = tensor.origin
    if origin is not None:
        steps = list(origin.steps)
        if steps and steps[-1].kind == step.kind == "reshape":
            steps.pop()
        before = Origin("", origin.shape, tuple(steps)).to_device(np.empty(origin.shape, np.bool_)).shape
        if step.kind == "transpose" or step.value != before:
            steps.append(step)
        origin = replace(origin, steps=tuple(steps))
    return replace(tensor, shape=data.shape, data=data, origin=origin)


@dataclass(frozen=True)
class FoldedBatchNorm:
    """A BatchNormalization that became part of the weights in front of it.

    ``node`` and ``output`` are its name and its output's in the ONNX model,
    ``weight`` and ``bias`` are the parameters' origins' initializer names; the
    bias may be new to the model.  ``weight_data`` and ``bias_data`` are the
    folded values in the ONNX model's layout.
    """

    node: str
    output: str
    weight: str
    bias: str
    weight_data: Array
    bias_data: Array


def fold_batch_norms(
    graph: Graph, new_bias_name: Callable[[str], str]
) -> tuple[Graph, list[FoldedBatchNorm]]:
    """Fold every BatchNormalization into the convolution or dense layer before it.

    With ``s = scale / sqrt(variance + epsilon)`` per output channel (computed in
    FP64), the weight becomes ``s * weight`` and the bias ``s * (bias - mean) + shift``.
    Where no such layer precedes, or its weight serves another too, the
    normalization becomes a multiplication and an addition of constants.
    ``new_bias_name`` names the ONNX initializer of a bias that did not exist,
    given the weight's.
    """
    result = graph.copy()
    folded: list[FoldedBatchNorm] = []
    for name in [node.outputs[0] for node in result.nodes if node.op == "BatchNormalization"]:
        norm = result.producers()[name]
        layer = _layer_before(result, norm)
        with np.errstate(all="ignore"):  # the importer refuses what is not finite, by name
            scale, shift = _affine(result, norm)
            if layer is None:
                _as_mul_and_add(result, norm, scale, shift)
            else:
                folded.append(_into(result, norm, layer, scale, shift, new_bias_name))
    return result, folded


def _affine(graph: Graph, norm: Node) -> tuple[Array, Array]:
    """Factor and shift per channel, in FP64."""
    values = [graph.tensors[name].data for name in norm.inputs[1:5]]
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in values)
    scale = gamma / np.sqrt(variance + float(norm.attrs["epsilon"]))
    return scale, beta - mean * scale


def _layer_before(graph: Graph, norm: Node) -> Node | None:
    """The layer that only feeds ``norm`` and whose parameters only serve it."""
    x = norm.inputs[0]
    layer = graph.producers().get(x)
    if layer is None or layer.op not in _CHANNEL_AXIS or x in graph.outputs:
        return None
    uses = graph.consumers()
    if layer.attrs.get("activation", "none") != "none" or len(uses[x]) != 1:
        return None
    if norm.attrs["axis"] != len(graph.tensors[x].shape) - 1:
        return None
    for name in layer.inputs[1:]:
        if name and (len(uses[name]) != 1 or graph.tensors[name].kind != "parameter"):
            return None
    return layer


def _into(
    graph: Graph, norm: Node, layer: Node, scale: Array, shift: Array, new_bias_name: Callable[[str], str]
) -> FoldedBatchNorm:
    weight = graph.tensors[layer.inputs[1]]
    origin = weight.origin
    assert weight.data is not None
    assert origin is not None
    along = [1] * len(weight.shape)
    along[_CHANNEL_AXIS[layer.op]] = scale.size
    data = (weight.data * scale.reshape(along)).astype(np.float32)
    graph.tensors[weight.name] = replace(weight, data=data)

    name = layer.inputs[2] if len(layer.inputs) > 2 else ""
    if name:
        bias = graph.tensors[name]
        assert bias.data is not None
        bias = replace(bias, data=(bias.data * scale + shift).astype(np.float32))
    else:
        name = graph.unique_name(f"{weight.name}.bias")
        source = Origin(new_bias_name(origin.initializer), shift.shape)
        bias = Tensor(name, shift.shape, "f32", "parameter", shift.astype(np.float32), source)
    graph.tensors[name] = bias
    index = graph.nodes.index(layer)
    out = graph.tensors[norm.outputs[0]]
    graph.nodes[index] = replace(layer, inputs=(*layer.inputs[:2], name))
    graph.nodes.remove(norm)
    rename(graph, out.name, layer.outputs[0])
    assert bias.origin is not None
    return FoldedBatchNorm(
        norm.source,
        norm.attrs["onnx_output"],
        origin.initializer,
        bias.origin.initializer,
        origin.to_onnx(data),
        bias.origin.to_onnx(np.asarray(bias.data)),
    )


def _as_mul_and_add(graph: Graph, norm: Node, scale: Array, shift: Array) -> None:
    x = graph.tensors[norm.inputs[0]]
    shape = [1] * len(x.shape)
    shape[norm.attrs["axis"]] = scale.size
    names: list[str] = []
    for value, stem in ((scale, "scale"), (shift, "shift")):
        data = value.astype(np.float32).reshape(shape)
        name = graph.unique_name(f"{norm.outputs[0]}.{stem}")
        names.append(graph.add_tensor(Tensor(name, data.shape, "f32", "constant", data)).name)
    between = graph.unique_name(f"{norm.outputs[0]}.scaled")
    graph.add_tensor(Tensor(between, x.shape, "f32"))
    index = graph.nodes.index(norm)
    graph.nodes[index : index + 1] = [
        Node("Mul", (x.name, names[0]), (between,), {}, norm.name, norm.source),
        Node("Add", (between, names[1]), norm.outputs, {}, norm.name, norm.source),
    ]
