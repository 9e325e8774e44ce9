"""Names that people read: layers are numbered by kind in execution order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from mcutrain.ir import Array, Graph, Node, Origin, Tensor

_STEMS = {
    "Conv2d": "conv",
    "DepthwiseConv2d": "depthwise",
    "MaxPool2d": "max_pool",
    "AveragePool2d": "average_pool",
    "LeakyRelu": "leaky_relu",
    "LogSoftmax": "log_softmax",
}
_ROLES = {"Add": "bias", "Sub": "bias"}


def fresh(stem: str, taken: Collection[str]) -> str:
    """``stem``, or the first of ``stem_1``, ``stem_2`` … that is not taken."""
    name, n = stem, 0
    while name in taken:
        n += 1
        name = f"{stem}_{n}"
    return name


def origin(initializer: str, array: Array) -> Origin:
    return Origin(initializer, tuple(int(d) for d in array.shape))


def name_layers(graph: Graph) -> Graph:
    """The graph with nodes named ``conv1``, ``dense2`` …, parameters ``conv1.weight``,
    activations ``conv1.output``, and its ends ``input`` and ``output``."""
    graph = _with_own_output(graph)
    nodes = _numbered(graph.nodes)
    names: dict[str, str] = {graph.inputs[0]: "input", graph.outputs[0]: "output"}
    for node in nodes:
        for out in node.outputs:
            names.setdefault(out, f"{node.name}.output")
    taken = set(names.values())
    for old, new in _persistent_names(graph, nodes):
        if old not in names:
            names[old] = fresh(new, taken)
            taken.add(names[old])
    result = Graph(graph.name, ["input"], ["output"])
    for tensor in graph.used_tensors():
        result.add_tensor(replace(tensor, name=names[tensor.name]))
    result.nodes = [
        replace(
            node,
            inputs=tuple(names[i] if i else "" for i in node.inputs),
            outputs=tuple(names[o] for o in node.outputs),
        )
        for node in nodes
    ]
    return result


def _with_own_output(graph: Graph) -> Graph:
    """An output that is the input itself is given a view to be named."""
    tensor = graph.tensors[graph.outputs[0]]
    if not tensor.persistent:
        return graph
    graph = graph.copy()
    name = graph.unique_name("view")
    graph.add_tensor(Tensor(name, tensor.shape, tensor.dtype))
    graph.nodes.append(Node("Reshape", (tensor.name,), (name,), {"shape": tensor.shape}))
    graph.outputs = [name]
    return graph


def _numbered(nodes: list[Node]) -> list[Node]:
    counts: Counter[str] = Counter()
    named: list[Node] = []
    for node in nodes:
        stem = _STEMS.get(node.op, node.op.lower())
        counts[stem] += 1
        named.append(replace(node, name=f"{stem}{counts[stem]}"))
    return named


def _persistent_names(graph: Graph, nodes: list[Node]) -> list[tuple[str, str]]:
    """Old and wished names of parameters and constants, after the layer that computes with them."""
    wished: list[tuple[str, str]] = []
    through: dict[str, str] = {}
    for node in nodes:
        for index, name in enumerate(node.inputs):
            source = through.get(name, name)
            if not source or graph.tensors[source].kind not in ("parameter", "constant"):
                continue
            if node.op in ("Transpose", "Reshape"):
                through[node.outputs[0]] = source
            else:
                role = "bias" if index == 2 else _ROLES.get(node.op, "weight")
                wished.append((source, f"{node.name}.{role}"))
    wished += [(t.name, t.name) for t in graph.used_tensors() if t.kind in ("parameter", "constant")]
    return wished
