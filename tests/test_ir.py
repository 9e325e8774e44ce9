"""The intermediate representation: verifier, pruning, layouts there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.errors import GraphError
from mcutrain.ir import Graph, LayoutStep, Node, Origin, Tensor, prune, verify


def chain() -> Graph:
    """x → Relu → y → Tanh → z, and a result nobody needs."""
    graph = Graph("chain", inputs=["x"], outputs=["z"])
    graph.add_tensor(Tensor("x", (2, 3), "f32", "input"))
    for name in ("y", "z", "unused"):
        graph.add_tensor(Tensor(name, (2, 3), "f32"))
    graph.nodes = [
        Node("Relu", ("x",), ("y",)),
        Node("Tanh", ("y",), ("z",)),
        Node("Tanh", ("x",), ("unused",)),
    ]
    return graph


def test_verify_accepts_a_chain_and_prune_drops_the_unused() -> None:
    graph = chain()
    verify(graph)
    pruned = prune(graph)
    verify(pruned)
    assert [n.outputs for n in pruned.nodes] == [("y",), ("z",)]
    assert "unused" not in pruned.tensors


def test_verify_names_a_read_before_its_write() -> None:
    graph = chain()
    graph.nodes.reverse()
    with pytest.raises(GraphError, match="reads 'y' before it is written"):
        verify(graph)


def test_verify_refuses_a_second_write_of_an_activation() -> None:
    graph = chain()
    graph.nodes.append(Node("Relu", ("x",), ("y",)))
    with pytest.raises(GraphError, match="'y' is written twice"):
        verify(graph)


def test_verify_refuses_a_written_constant() -> None:
    graph = chain()
    graph.add_tensor(Tensor("c", (2, 3), "f32", "constant", np.zeros((2, 3), np.float32)))
    graph.nodes.append(Node("Relu", ("x",), ("c",)))
    with pytest.raises(GraphError, match="constant 'c' is written"):
        verify(graph)


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.booleans())
def test_origin_leads_to_the_device_and_back(order: list[int], shape: list[int], flatten: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    steps = [LayoutStep("transpose", tuple(order))]
    if flatten:
        steps.append(LayoutStep("reshape", (array.size,)))
    origin = Origin("w", tuple(shape), tuple(steps))
    device = origin.to_device(array)
    assert device.shape == ((array.size,) if flatten else tuple(shape[i] for i in order))
    back = origin.to_onnx(device)
    assert back.shape == array.shape
    assert np.array_equal(back, array)
