"""Fuse: let a layer do what exporters write as nodes of their own.

An addition of a bias and an activation are applied to the FP32 accumulator
before its one rounding, and zero padding becomes the convolution's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcutrain.compiler.passes.fold import rename
from mcutrain.ir import Graph, Node

#: Operators with a weight, an optional bias and an activation of their own.
LAYERS = frozenset({"Conv2d", "DepthwiseConv2d", "Dense"})


def fuse_bias(graph: Graph) -> Graph:
    """A layer without bias, then Add of one value per output channel → the layer with that bias."""
    result = graph.copy()
    for name in [node.outputs[0] for node in graph.nodes if node.op == "Add"]:
        add = result.producers()[name]
        for x, other in (add.inputs, add.inputs[::-1]):
            layer = _sole_producer(result, x, add)
            bias = result.tensors[other]
            if layer is None or layer.op not in LAYERS or bias.kind not in ("parameter", "constant"):
                continue
            channels = result.tensors[x].shape[-1]
            has_bias = len(layer.inputs) > 2 and layer.inputs[2] != ""
            plain = layer.attrs.get("activation", "none") == "none"
            same = result.tensors[add.outputs[0]].shape == result.tensors[x].shape
            if has_bias or not plain or not same or bias.shape[-1:] != (channels,) or bias.size != channels:
                continue
            _attach_bias(result, layer, add, other, channels)
            break
    return result


def _attach_bias(graph: Graph, layer: Node, add: Node, bias: str, channels: int) -> None:
    index = graph.nodes.index(layer)
    tensor = graph.tensors[bias]
    nodes: list[Node] = []
    if tensor.shape != (channels,):
        flat = graph.unique_name(f"{bias}.flat")
        graph.add_tensor(
            replace(tensor, name=flat, shape=(channels,), kind="activation", data=None, origin=None)
        )
        nodes.append(Node("Reshape", (bias,), (flat,), {"shape": (channels,)}, source=add.source))
        bias = flat
    graph.nodes[index : index + 1] = [*nodes, replace(layer, inputs=(*layer.inputs[:2], bias))]
    graph.nodes.remove(add)
    rename(graph, add.outputs[0], layer.outputs[0])


def fuse_activation(graph: Graph) -> Graph:
    """A layer, then Relu or Clip of nothing but its result → the layer with that activation."""
    result = graph.copy()
    for name in [n.outputs[0] for n in graph.nodes if n.op in ("Relu", "Clip")]:
        node = result.producers()[name]
        layer = _sole_producer(result, node.inputs[0], node)
        if layer is None or layer.op not in LAYERS or layer.attrs.get("activation", "none") != "none":
            continue
        index = result.nodes.index(layer)
        limits = {"lo": node.attrs["lo"], "hi": node.attrs["hi"]} if node.op == "Clip" else {}
        result.nodes[index] = layer.with_attrs(activation=node.op.lower(), **limits)
        result.nodes.remove(node)
        rename(result, node.outputs[0], layer.outputs[0])
    return result


def fuse_relu_and_bias_gradient(graph: Graph) -> Graph:
    """The gradient of a ReLU, then that of the bias before it → one node that passes over it once."""
    result = graph.copy()
    for bias in [n for n in graph.nodes if n.op == "BiasGradient"]:
        relu = result.producers().get(bias.inputs[0])
        if relu is None or relu.op != "ActivationGradient" or relu.attrs["activation"] != "relu":
            continue
        start, end = result.nodes.index(relu), result.nodes.index(bias)
        if any(relu.outputs[0] in node.inputs for node in result.nodes[start:end]):
            continue
        result.nodes[end] = Node(
            "ReluBiasGradient",
            (*relu.inputs, bias.inputs[1]),
            (*relu.outputs, *bias.outputs),
            {**bias.attrs, "activation": "relu"},
            bias.name,
            bias.source,
        )
        del result.nodes[start]
    return result


def fuse_padding(graph: Graph) -> Graph:
    """Zero padding of height and width, then a convolution of nothing but it → the convolution's padding."""
    result = graph.copy()
    for out in [n.outputs[0] for n in graph.nodes if n.op == "Pad"]:
        pad = result.producers()[out]
        begin, end = pad.attrs["begin"], pad.attrs["end"]
        users = [n for n in result.nodes if out in n.inputs]
        if len(begin) != 4 or any((begin[0], end[0], begin[3], end[3])) or out in result.outputs:
            continue
        if len(users) != 1 or users[0].op not in ("Conv2d", "DepthwiseConv2d"):
            continue
        outer = np.array([begin[1], begin[2], end[1], end[2]])
        pads = tuple(int(p) for p in outer + users[0].attrs["pads"])
        inputs = (pad.inputs[0], *users[0].inputs[1:])
        index = result.nodes.index(users[0])
        result.nodes[index] = replace(users[0], inputs=inputs).with_attrs(pads=pads)
        result.nodes.remove(pad)
        del result.tensors[out]
    return result


def _sole_producer(graph: Graph, name: str, user: Node) -> Node | None:
    """The node that makes ``name``, if ``user`` is the only one to read it, once."""
    reads = sum(node.inputs.count(name) for node in graph.nodes)
    if reads != 1 or name in graph.outputs or name not in user.inputs:
        return None
    return graph.producers().get(name)
