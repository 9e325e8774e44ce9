"""Views simplify without changing what they show, and the layout pass without changing results."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.compiler.passes.fold import fold_views
from mcutrain.compiler.passes.layout import layout
from mcutrain.compiler.passes.views import View
from mcutrain.ir import Array, Graph, Node, Tensor, verify
from mcutrain.ops import op_for
from mcutrain.reference import run_graph


def shown(view: View, base: Array) -> Array:
    """The view's data, step by step."""
    array = base
    for step, before in zip(view.steps, view.shapes()[:-1], strict=True):
        array = array.reshape(before)
        array = array.transpose(step.value) if step.kind == "transpose" else array.reshape(step.value)
    return array.reshape(view.shape)


@st.composite
def shapes_of(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """A shape of ``size`` elements, with axes of length one here and there."""
    shape: list[int] = []
    while size > 1:
        factor = draw(st.sampled_from([d for d in range(2, size + 1) if size % d == 0]))
        shape.append(factor)
        size //= factor
    for _ in range(draw(st.integers(0 if shape else 1, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


@st.composite
def changes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """A transpose or a reshape of a tensor of this shape."""
    if draw(st.booleans()):
        return "perm", tuple(draw(st.permutations(range(len(shape)))))
    return "shape", draw(shapes_of(int(np.prod(shape))))


@given(st.data())
def test_views_show_what_numpy_shows(data: st.DataObject) -> None:
    array = np.arange(24).reshape(data.draw(shapes_of(24)))
    view, wanted = View("x", array.shape, array.shape), array
    for _ in range(data.draw(st.integers(0, 6))):
        kind, value = data.draw(changes(wanted.shape))
        view = view.transpose(value) if kind == "perm" else view.reshape(value)
        wanted = wanted.transpose(value) if kind == "perm" else wanted.reshape(value)
        assert view.shape == wanted.shape
        assert np.array_equal(shown(view, array), wanted)
        kinds = [step.kind for step in view.steps]
        assert all(a != b for a, b in pairwise(kinds))
    same = View("y", wanted.shape, wanted.shape).undo(view)
    assert np.array_equal(shown(same, wanted), array)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Views, elementwise operators, softmax, padding and products in any order."""
    graph = Graph("random", ["input"])
    graph.add_tensor(Tensor("input", draw(shapes_of(24)), "f32", "input"))
    made = ["input"]
    rng = np.random.default_rng(0)
    for number in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from(made[-3:]))
        shape = graph.tensors[name].shape
        axis = draw(st.integers(0, len(shape) - 1))
        op = draw(st.sampled_from(["Transpose", "Reshape", "Tanh", "Add", "Mul", "Softmax", "Pad", "Dense"]))
        inputs, attrs = [name], {}
        if op == "Transpose":
            attrs = {"perm": tuple(draw(st.permutations(range(len(shape)))))}
        elif op == "Reshape":
            attrs = {"shape": draw(shapes_of(int(np.prod(shape))))}
        elif op == "Softmax":
            attrs = {"axis": axis}
        elif op == "Pad":
            begin = tuple(int(i == axis) for i in range(len(shape)))
            attrs = {"begin": begin, "end": tuple(0 for _ in shape)}
        elif op == "Dense" and len(shape) < 2:
            continue
        elif op in ("Add", "Mul", "Dense"):
            others = [n for n in made if n != name and _broadcasts(graph.tensors[n].shape, shape)]
            if others and op != "Dense" and draw(st.booleans()):
                inputs.append(draw(st.sampled_from(others)))
            else:
                kept = tuple(d if draw(st.booleans()) else 1 for d in shape)[
                    draw(st.integers(0, len(shape))) :
                ]
                kept = (3, shape[-1]) if op == "Dense" else (kept or (1,))
                weight = rng.standard_normal(kept).astype(np.float32)
                kind = "constant" if draw(st.booleans()) else "parameter"
                inputs.append(graph.add_tensor(Tensor(f"w{number}", kept, "f32", kind, weight)).name)
            if op != "Dense" and draw(st.booleans()):
                inputs.reverse()
        node = Node(op, tuple(inputs), (f"t{number}",), attrs)
        ((out, _),) = op_for(op).infer(node, graph.input_tensors(node))
        graph.add_tensor(Tensor(f"t{number}", out, "f32"))
        graph.nodes.append(node)
        made.append(f"t{number}")
    graph.outputs = [made[-1]]
    return graph


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return bool(np.broadcast_shapes(shape, to) == to)
    except ValueError:
        return False


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_the_layout_pass_changes_no_result(graph: Graph) -> None:
    x = np.random.default_rng(1).standard_normal(graph.tensors["input"].shape).astype(np.float32)
    (wanted,) = run_graph(graph, {"input": x}).values()
    for changed in (layout(graph), fold_views(layout(graph))):
        verify(changed)
        for node in changed.nodes:
            inferred = op_for(node.op).infer(node, changed.input_tensors(node))
            assert inferred == [(t.shape, t.dtype) for t in changed.output_tensors(node)]
        (got,) = run_graph(changed, {"input": x}).values()
        assert got.shape == wanted.shape
        assert np.allclose(got, wanted, rtol=1e-5, atol=1e-6)
