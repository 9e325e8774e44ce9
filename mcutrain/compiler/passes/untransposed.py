"""Untransposed: input gradients that need no transposed copy of their weights.

Tiled kernels transpose weights as they come into L1; a call of its own for that takes longer.
"""

from __future__ import annotations

from dataclasses import replace

from mcutrain.compiler import tiles
from mcutrain.ir import Graph, Node, Tensor
from mcutrain.ops import op_for


def without_transposition(graph: Graph) -> Graph:
    """Transpose of a weight, then a Dense or a pointwise Conv2dInputGradient of it → DenseInputGradient.

    Only for shapes that the tiled kernel takes in binary16.
    """
    result = graph.copy()
    made = graph.producers()
    for index, node in enumerate(graph.nodes):
        turned = made.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if turned is None or turned.op != "Transpose" or "dtype" in turned.attrs:
            continue
        weight = graph.tensors[turned.inputs[0]]
        if weight.kind == "parameter" and _exchanges(turned, node, weight):
            untransposed = Node(
                "DenseInputGradient",
                (node.inputs[0], weight.name),
                node.outputs,
                {},
                node.name,
                node.source,
            )
            if _taken(graph, untransposed):
                result.nodes[index] = untransposed
    return result


def _exchanges(turned: Node, node: Node, weight: Tensor) -> bool:
    """Whether the product is one with rows of ``weight`` as they are."""
    perm = tuple(turned.attrs["perm"])
    if node.op == "Conv2dInputGradient":
        plain = all(set(node.attrs[name]) == {value} for name, value in (("strides", 1), ("pads", 0)))
        return plain and perm == (3, 1, 2, 0) and weight.shape[1:3] == (1, 1) and node.attrs["group"] == 1
    bias = len(node.inputs) > 2 and node.inputs[2]
    plain = node.op == "Dense" and not bias and node.attrs.get("activation", "none") == "none"
    return plain and len(perm) == 2 and perm == (1, 0)


def _taken(graph: Graph, node: Node) -> bool:
    operands, results = (
        [replace(graph.tensors[name], dtype="f16", data=None) for name in names]
        for names in (node.inputs, node.outputs)
    )
    call = op_for(node.op).kernel(node, list(operands), results)
    return call is not None and tiles.takes(call)
