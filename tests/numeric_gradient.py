"""Check an operator's gradient rule against central differences of a float64 formula.

The rule runs as the compiler runs it: through ``differentiate``, with every
operand a trained parameter, and each node by its ``compute``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mcutrain.compiler.autodiff import differentiate
from mcutrain.ir import Array, Graph, Node, Tensor, verify
from mcutrain.ops import op_for
from mcutrain.reference import run_node


def check_gradient(
    op: str,
    inputs: Sequence[Array],
    formula: Callable[..., Array],
    attrs: Mapping[str, Any] | None = None,
    *,
    tolerance: float = 2e-4,
    step: float = 1e-5,
) -> None:
    """Assert value and gradient of ``op`` over f32 ``inputs`` against ``formula`` in float64.

    ``tolerance`` is relative to the largest entry of the expected array.
    """
    graph = Graph("check")
    names = [f"p{i}" for i in range(len(inputs))]
    for name, value in zip(names, inputs, strict=True):
        graph.add_tensor(Tensor(name, value.shape, "f32", "parameter"))
    node = Node(op, tuple(names), ("y",), dict(attrs or {}), name="layer")
    ((shape, dtype),) = op_for(op).infer(node, graph.input_tensors(node))
    graph.add_tensor(Tensor("y", shape, dtype))
    graph.add_tensor(Tensor("dy", shape, dtype, "input"))
    graph.nodes, graph.inputs, graph.outputs = [node], ["dy"], ["y"]
    backward = differentiate(graph, {"y": "dy"}, names)
    verify(backward)

    exact = [value.astype(np.float64) for value in inputs]
    dy = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    values = {name: value.astype(np.float32) for name, value in zip(names, inputs, strict=True)}
    for name in names:
        values[f"{name}.gradient"] = np.zeros_like(values[name])
    values["dy"] = dy
    for step_node in backward.nodes:
        run_node(backward, step_node, values)
    assert_close(values["y"], formula(*exact), tolerance)
    for index, name in enumerate(names):
        want = np.zeros(exact[index].shape)
        for at in np.ndindex(want.shape):
            moved = [value.copy() for value in exact]
            moved[index][at] = exact[index][at] + step
            above = np.array(formula(*moved))
            moved[index][at] = exact[index][at] - step
            want[at] = ((above - np.array(formula(*moved))) / (2 * step) * dy).sum()
        assert_close(values[f"{name}.gradient"], want, tolerance)


def assert_close(got: Array, want: Array, tolerance: float) -> None:
    """Equal shapes, differences of at most ``tolerance`` times the largest expected magnitude; NaN fails."""
    assert got.shape == want.shape
    difference = np.abs(got.astype(np.float64) - want)
    bound = tolerance * max(1e-30, float(np.abs(want).max()))
    assert (difference <= bound).all(), f"largest difference {difference.max()}, allowed {bound}"
