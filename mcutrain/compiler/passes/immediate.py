"""Immediate updates: each dense layer descends as soon as its gradient is known.

At batch 1 a dense layer's gradient is an outer product, which need never be
stored: the backward pass, the gradient and the update become one node that
walks over the FP32 weights once, and the forward pass rounds them as it reads
them.  Neither accumulators nor FP16 copies remain.

An overflow then stops the step at the layer where it appears: the layers
above have been updated, this one and those below it are not.
"""

from __future__ import annotations

from collections.abc import Collection

from mcutrain.compiler.autodiff import append
from mcutrain.errors import OptionError
from mcutrain.ir import Graph, Node, Tensor


def round_on_reading(graph: Graph) -> Graph:
    """Cast of a weight, then Dense on one row → RoundedDense."""
    result = graph.copy()
    casts = {n.outputs[0]: n for n in graph.nodes if n.op == "Cast" and _is_f32(graph, n.inputs[0])}
    replaced: list[Node] = []
    for node in graph.nodes:
        cast = casts.get(node.inputs[1]) if node.op == "Dense" else None
        if (
            cast is not None
            and _one_row(graph, node.inputs[0])
            and len(graph.tensors[cast.outputs[0]].shape) == 2
        ):
            node = Node(
                "RoundedDense",
                (node.inputs[0], cast.inputs[0], *node.inputs[2:]),
                node.outputs,
                node.attrs,
                node.name,
                node.source,
            )
        replaced.append(node)
    result.nodes = replaced
    return result


def update_immediately(
    graph: Graph, trained: Collection[str], hyper: Tensor, scale: str, overflow: str
) -> Graph:
    """A train_step whose trained parameters descend in it; ``hyper`` becomes its last input.

    Args:
        graph: forward and backward pass with accumulators ``<parameter>.gradient``.
        trained: names of the parameters.
        hyper: f32[4] as Program ``apply`` takes it.
        scale, overflow: names of state tensors in the graph.

    Raises:
        OptionError: a parameter is not that of a dense layer on one row.
    """
    result = graph.copy()
    result.add_tensor(hyper)
    result.inputs.append(hyper.name)
    left = set(trained)
    for node in [n for n in graph.nodes if n.op == "DenseWeightGradient"]:
        weight = node.outputs[0].removesuffix(".gradient")
        if weight not in trained or not _one_row(graph, node.inputs[0]):
            continue
        left.discard(weight)
        left.discard(_fuse(result, node, weight, trained, hyper.name, scale, overflow))
    if left:
        layers = ", ".join(sorted({name.rpartition(".")[0] or name for name in left}))
        raise OptionError(
            f"immediate updates are for dense layers that see one row, which {layers} is not",
            "compile without --immediate, or leave the layer out with --train",
        )
    return result


def _fuse(
    graph: Graph, node: Node, weight: str, trained: Collection[str], hyper: str, scale: str, overflow: str
) -> str:
    """Put DenseUpdate in the place of a layer's backward nodes; returns its trained bias or ''."""
    x, dy = node.inputs[:2]
    consumers = graph.consumers()
    bias = ""
    for other in consumers[dy]:
        name = other.outputs[0].removesuffix(".gradient")
        if other.op == "BiasGradient" and name in trained:
            bias = name
            graph.nodes.remove(other)
    removed: list[Node] = []
    dx = ""
    for transpose in consumers[weight]:
        if transpose.op != "Transpose":
            continue
        users = consumers[transpose.outputs[0]]
        if len(users) == 1 and users[0].op == "Dense" and users[0].inputs[0] == dy:
            removed += [transpose, users[0]]
            dx = users[0].outputs[0]
    # x is what the ReLU of the layer below gave: its gradient is that of a mask on dx
    masks = [n for n in consumers.get(dx, ()) if n.op == "ActivationGradient"]
    relu = len(consumers.get(dx, ())) == 1 and [_relu_of(n, x) for n in masks] == [True]
    if relu:
        removed += masks
        dx = masks[0].outputs[0]
    backward = graph.nodes.index(node)
    later = [n for n in graph.nodes[backward:] if weight in n.inputs and n not in removed]
    if later or sum(node.outputs[0] in n.outputs for n in graph.nodes) > 1:
        raise OptionError(
            f"the weight '{weight}' is used more than once, and cannot be updated in between",
            "compile without --immediate",
        )
    inputs = (x, dy, weight, bias, hyper, scale, overflow)
    outputs = [weight, *([bias] if bias else []), overflow, *([dx] if dx else [])]
    single = Graph(graph.name, tensors=dict(graph.tensors))
    append(
        single,
        "DenseUpdate",
        inputs,
        {"dx": bool(dx), "relu": relu},
        name=f"{node.name.rpartition('.')[0]}.update",
        outputs=outputs,
        source=node.source,
    )
    graph.nodes[backward] = single.nodes[0]
    graph.nodes = [n for n in graph.nodes if n not in removed]
    return bias


def _relu_of(node: Node, y: str) -> bool:
    return node.attrs.get("activation") == "relu" and node.inputs[1] == y


def _one_row(graph: Graph, name: str) -> bool:
    tensor = graph.tensors[name]
    return tensor.size == tensor.shape[-1]


def _is_f32(graph: Graph, name: str) -> bool:
    return graph.tensors[name].dtype == "f32"
