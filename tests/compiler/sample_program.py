"""A Program small enough to check by hand: y = relu(x w + b), in FP16."""

from __future__ import annotations

import numpy as np

from mcutrain.compiler.passes.memory import Plan, plan_memory
from mcutrain.ir import Graph, Node, Tensor
from mcutrain.manifest import Options


def dense_graph(name: str = "infer", bias: bool = True) -> Graph:
    """input [1, 4] f16 → Dense with 3 outputs → y [1, 3] f16."""
    graph = Graph(name, ["input"], ["y"])
    graph.add_tensor(Tensor("input", (1, 4), "f16", "input"))
    weight = np.arange(12, dtype=np.float16).reshape(3, 4)
    graph.add_tensor(Tensor("fc.weight", (3, 4), "f16", "parameter", weight))
    if bias:
        graph.add_tensor(Tensor("fc.bias", (3,), "f32", "parameter", np.arange(3, dtype=np.float32)))
    graph.add_tensor(Tensor("y", (1, 3), "f16"))
    inputs = ("input", "fc.weight", "fc.bias") if bias else ("input", "fc.weight")
    graph.nodes.append(Node("Dense", inputs, ("y",), {"activation": "clip", "lo": 0.0, "hi": 0.1}, "fc"))
    return graph


def dense_plan(**options: int) -> Plan:
    return plan_memory([dense_graph()], Options(**options))  # type: ignore[arg-type]
