"""The memory plan: lifetimes, sharing, views, overwriting in place, limits, no overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.compiler.passes.memory import (
    Buffer,
    Plan,
    assign_offsets,
    check_overlap,
    live_bytes,
    plan_memory,
)
from mcutrain.errors import GraphError, MemoryLimitError
from mcutrain.ir import Graph, Node, Placement, Tensor
from mcutrain.manifest import Options


def chain(*ops: str, width: int = 100, keep: tuple[str, ...] = (), name: str = "infer") -> Graph:
    """input → ops in a row, each [1, width] f32; tensor i is the output of op i."""
    graph = Graph(name, ["input"], [str(len(ops) - 1), *keep])
    graph.add_tensor(Tensor("input", (1, width), "f32", "input"))
    for i, op in enumerate(ops):
        graph.add_tensor(Tensor(str(i), (1, width), "f32"))
        source = str(i - 1) if i else "input"
        attrs = {"shape": (1, width)} if op == "Reshape" else {"axis": -1}
        graph.nodes.append(Node(op, (source,), (str(i),), attrs, f"layer{i}"))
    return graph


def offsets(plan: Plan, index: int = 0) -> dict[str, int]:
    return {name: place.offset for name, place in plan.programs[index].placements.items()}


def test_ping_pong_needs_two_buffers() -> None:
    plan = plan_memory([chain("Softmax", "Softmax", "Softmax", "Softmax")], Options())
    assert plan.memory.inputs == 400
    assert plan.memory.scratch == 800
    assert plan.arena_size == 1200
    assert plan.data_size == 0


def test_elementwise_operators_overwrite_a_dying_operand() -> None:
    plan = plan_memory([chain("Softmax", "Relu", "Tanh", "Softmax")], Options())
    where = offsets(plan)
    assert where["0"] == where["1"] == where["2"] != where["3"]
    assert plan.memory.scratch == 800


def test_persistent_tensors_and_outputs_are_never_overwritten() -> None:
    plan = plan_memory([chain("Relu", "Relu", "Relu", keep=("1",))], Options())
    where = offsets(plan)
    assert len({where["input"], where["0"], where["2"]}) == 3
    assert where["0"] == where["1"]


def test_an_operand_that_another_operand_shares_is_not_overwritten() -> None:
    graph = chain("Softmax", "Reshape")
    graph.add_tensor(Tensor("sum", (1, 100), "f32"))
    graph.nodes.append(Node("Add", ("0", "1"), ("sum",), {}, "sum"))
    graph.outputs = ["sum"]
    where = offsets(plan_memory([graph], Options()))
    assert where["0"] == where["1"] != where["sum"]


def test_add_does_not_overwrite_an_operand_it_broadcasts() -> None:
    graph = chain("Softmax")
    graph.add_tensor(Tensor("small", (1, 1), "f32"))
    graph.add_tensor(Tensor("sum", (1, 100), "f32"))
    graph.nodes.append(Node("ReduceSum", ("0",), ("small",), {"shape": (1, 1)}, "reduce"))
    graph.nodes.append(Node("Add", ("small", "0"), ("sum",), {}, "sum"))
    graph.outputs = ["sum"]
    where = offsets(plan_memory([graph], Options()))
    assert where["sum"] == where["0"] != where["small"]


def test_a_view_keeps_its_source_alive_and_costs_nothing() -> None:
    graph = chain("Softmax", "Reshape", "Softmax")
    graph.add_tensor(Tensor("late", (1, 100), "f32"))
    graph.nodes.append(Node("Sub", ("1", "2"), ("late",), {}, "late"))
    graph.outputs = ["late"]
    where = offsets(plan_memory([graph], Options()))
    assert where["0"] == where["1"] != where["2"]


def test_a_view_of_a_persistent_tensor_is_that_tensor() -> None:
    graph = chain("Reshape", "Softmax")
    plan = plan_memory([graph], Options())
    placements = plan.programs[0].placements
    assert placements["0"] == placements["input"]


def test_regions_follow_from_initial_data() -> None:
    graph = chain("Softmax")
    weight = Tensor("w", (3,), "f16", "parameter", np.ones(3, np.float16))
    state = Tensor("scale", (1,), "f32", "state", np.ones(1, np.float32))
    for tensor in (weight, state, Tensor("w.gradient", (3,), "f32", "state")):
        graph.add_tensor(tensor)
        graph.inputs.append(tensor.name)
    plan = plan_memory([graph], Options())
    assert plan.persistent["w"] == Placement("data", 0)
    assert plan.persistent["scale"] == Placement("data", 16)
    assert plan.persistent["w.gradient"].region == "arena"
    assert plan.data_size == 32
    assert (plan.memory.weights, plan.memory.gradients, plan.memory.optimizer) == (16, 16, 16)


def test_programs_share_persistent_tensors_and_scratch() -> None:
    plan = plan_memory([chain("Softmax"), chain("Softmax", "Softmax", name="again")], Options())
    assert offsets(plan, 0)["input"] == offsets(plan, 1)["input"] == 0
    assert plan.memory.scratch == 800


def test_a_tensor_must_not_differ_between_programs() -> None:
    with pytest.raises(GraphError, match="'input' differs between Programs"):
        plan_memory([chain("Softmax"), chain("Softmax", width=50, name="again")], Options())


@pytest.mark.parametrize("guard", [0, 16, 64])
def test_everything_is_aligned_and_guarded(guard: int) -> None:
    plan = plan_memory([chain("Softmax", "Relu", "Softmax", width=33)], Options(guard=guard))
    places = sorted(set(offsets(plan).values()))
    assert all(offset % 16 == 0 and offset >= guard for offset in places)
    assert all(b - a >= 33 * 4 + 2 * guard for a, b in pairwise(places))
    assert plan.arena_size >= places[-1] + 33 * 4 + guard


def test_the_same_input_gives_the_same_plan() -> None:
    graphs = [chain("Softmax", "Relu", "Softmax"), chain("Tanh", "Softmax", name="again")]
    assert plan_memory(graphs, Options()) == plan_memory([g.copy() for g in graphs], Options())


def test_too_big_names_tensor_bytes_and_what_helps() -> None:
    graph = chain("Softmax", "Softmax", width=1000)
    options = Options(loss="cross-entropy", momentum=True)
    with pytest.raises(MemoryLimitError) as caught:
        plan_memory([graph], options, limit=10_000, memory_name="L2")
    assert "L2: 12000 bytes needed, 10000 available (2000 too many)" in caught.value.reason
    assert "'0' 4000 bytes" in caught.value.reason
    for advice in ("--precision mixed", "without momentum", "--train"):
        assert advice in caught.value.remedy
    plan_memory([graph], options, limit=12_000)


buffer_lists = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 12), st.integers(0, 6)).map(
        lambda t: Buffer((f"{t}",), t[0], t[1], t[1] + t[2])
    ),
    max_size=25,
)


@given(buffer_lists, st.sampled_from([0, 32]))
def test_no_two_live_buffers_ever_overlap(buffers: list[Buffer], guard: int) -> None:
    found, peak = assign_offsets(buffers, guard)
    check_overlap("test", buffers, found, guard)
    for i, a in enumerate(buffers):
        assert found[i] % 16 == 0
        assert guard <= found[i] <= peak - a.nbytes - guard
        for j, b in enumerate(buffers[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert found[i] + a.nbytes + guard <= found[j] or found[j] + b.nbytes + guard <= found[i]


def test_an_overlap_is_found() -> None:
    buffers = [Buffer(("a",), 64, 0, 2), Buffer(("b",), 64, 2, 3)]
    check_overlap("test", buffers, [0, 64])
    with pytest.raises(GraphError, match="'a' and 'b' overlap"):
        check_overlap("test", buffers, [0, 48])


def test_live_bytes_bounds_every_plan() -> None:
    graph = chain("Softmax", "Softmax", "Relu", "Softmax")
    assert max(live_bytes(graph, 1)) == plan_memory([graph], Options()).memory.scratch == 800
