"""Compare an operator's gradient rule with central differences of its forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mcutrain.compiler.autodiff import append, differentiate
from mcutrain.ir import Array, Graph, Tensor, verify
from mcutrain.reference import initial, run_node


def check_gradients(
    op_name: str,
    inputs: Sequence[Array | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    step: float = 2.0**-6,
    tolerance: float = 2e-3,
    seed: int = 0,
) -> None:
    """Assert that the gradients with respect to every f32 input match d(sum of dy * y)/d input.

    ``step`` is the half width of the difference: keep the inputs further than
    that from kinks.  ``tolerance`` is relative to the largest gradient.
    """
    graph = Graph("gradients")
    names = []
    for i, value in enumerate(inputs):
        names.append("" if value is None else f"in{i}")
        if value is not None:
            kind = "parameter" if value.dtype == np.float32 else "constant"
            graph.add_tensor(
                Tensor(f"in{i}", value.shape, "f32" if kind == "parameter" else "i32", kind, value)
            )  # type: ignore[arg-type]
    trained = [name for name in names if name and graph.tensors[name].kind == "parameter"]
    (out, *_) = append(graph, op_name, names, attrs, name="out")
    forward = graph.copy()
    rng = np.random.default_rng(seed)
    dy = rng.standard_normal(graph.tensors[out].shape).astype(np.float32)
    graph.add_tensor(Tensor("dy", dy.shape, "f32", "constant", dy))
    backward = differentiate(graph, {out: "dy"}, trained)
    verify(backward)
    values = {t.name: initial(t) for t in backward.tensors.values() if t.persistent}
    for node in backward.nodes:
        run_node(backward, node, values)

    def objective(name: str, array: Array) -> float:
        changed = {t.name: initial(t) for t in forward.tensors.values() if t.persistent} | {name: array}
        for node in forward.nodes:
            run_node(forward, node, changed)
        return float(np.sum(changed[out].astype(np.float64) * dy))

    for name in trained:
        value = initial(forward.tensors[name])
        numeric = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * step
                ends.append(objective(name, moved))
            numeric[index] = (ends[0] - ends[1]) / (2 * step)
        got = values[f"{name}.gradient"]
        worst = np.max(np.abs(got - numeric)) / max(1.0, np.max(np.abs(numeric)))
        assert worst <= tolerance, (
            f"{op_name} {dict(attrs or {})}: gradient of input '{name}' is off by {worst:.2g}"
        )
