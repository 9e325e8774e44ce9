"""Reverse-mode differentiation of a graph: walk the nodes backwards, apply each operator's rule.

The rules live with the operators (:meth:`mcutrain.ops.base.Op.gradient`);
this module keeps the books: which tensors need a gradient at all, where the
contributions of several consumers meet, and where parameters collect theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mcutrain.ir import DType, Graph, Node, Tensor
from mcutrain.ops import op_for


def append(
    graph: Graph,
    op: str,
    inputs: Sequence[str],
    attrs: Mapping[str, Any] | None = None,
    *,
    name: str,
    outputs: Sequence[str] | None = None,
    source: str = "",
) -> list[str]:
    """Append a node and type its outputs; returns their names.

    Without ``outputs`` they are called after ``name``.  An output that exists
    already must be a persistent tensor and is updated in place.
    """
    node = Node(op, tuple(inputs), (), dict(attrs or {}), name, source)
    types = op_for(op).infer(node, graph.input_tensors(node))
    if outputs is None:
        outputs = [graph.unique_name(name if i == 0 else f"{name}.{i}") for i in range(len(types))]
    for out, (shape, dtype) in zip(outputs, types, strict=True):
        if out not in graph.tensors:
            graph.add_tensor(Tensor(out, shape, dtype))
    graph.nodes.append(Node(op, tuple(inputs), tuple(outputs), dict(attrs or {}), name, source))
    return list(outputs)


def requires_gradient(graph: Graph, trained: Collection[str]) -> set[str]:
    """The trained parameters and every tensor computed from one."""
    needing = set(trained)
    for node in graph.nodes:
        if any(name in needing for name in node.inputs):
            needing.update(node.outputs)
    return needing


class _Builder:
    """The GradientBuilder the operators' rules talk to."""

    def __init__(self, graph: Graph, trained: Collection[str]) -> None:
        self.graph = graph
        self.trained = frozenset(trained)
        self.needing = requires_gradient(graph, trained)
        self.gradients: dict[str, str] = {}

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        node: Node,
        dtype: DType | None = None,
        out: str | None = None,
    ) -> str:
        role = re.sub(rf"^{node.op}(?=.)", "", op)
        role = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", role).lower()
        name = f"{node.name or node.op.lower()}.{role}"
        attrs = dict(attrs or {}) | ({"dtype": dtype} if dtype else {})
        outputs = None if out is None else [out]
        return append(self.graph, op, inputs, attrs, name=name, outputs=outputs, source=node.source)[0]

    def needs(self, name: str) -> bool:
        return name in self.needing

    def accumulator(self, param: str) -> str:
        return accumulator(self.graph, param).name

    def accumulate(self, name: str, grad: str) -> None:
        if name in self.trained:
            acc = self.accumulator(name)
            append(self.graph, "Accumulate", [acc, grad], name=f"{name}.accumulate", outputs=[acc])
            return
        known = self.gradients.get(name)
        if known is not None:
            (grad,) = append(self.graph, "Add", [known, grad], name=f"{name}.gradient_sum")
        self.gradients[name] = grad

    def is_parameter(self, name: str) -> bool:
        return self.graph.tensors[name].kind == "parameter"

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]


def accumulator(graph: Graph, param: str) -> Tensor:
    """The state tensor ``<param>.gradient`` (f32, the parameter's device shape)."""
    return graph.add_tensor(Tensor(f"{param}.gradient", graph.tensors[param].shape, "f32", "state"))


def differentiate(graph: Graph, seeds: Mapping[str, str], trained: Collection[str]) -> Graph:
    """Append to a copy of ``graph`` the nodes that accumulate the trained parameters' gradients.

    ``seeds`` maps tensors to the names of their known gradients (what the
    loss node produced); ``trained`` names the parameters to differentiate by.
    Only what those need is computed: the walk ends at the first trained layer.
    """
    builder = _Builder(graph.copy(), trained)
    builder.gradients.update(seeds)
    for node in reversed(graph.nodes):
        gradients = [builder.gradients.get(out) for out in node.outputs]
        if any(gradients) and any(name in builder.needing for name in node.inputs):
            op_for(node.op).gradient(node, builder, gradients)
    return builder.graph
