"""Layout: let transposes cancel, so that data are moved only where they must be.

The importer writes a Transpose on both sides of every spatial operator, from
ONNX's channels-first layout to ours and back.  One sweep in execution order
carries each tensor as a :class:`~mcutrain.compiler.passes.views.View`:
operators that don't care about the layout work on the base tensor and pass the
view on, a view that comes back to where it started vanishes, and only what an
operator really needs is turned into Transpose and Reshape nodes, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcutrain.compiler.passes.views import View, inverse, squeezed
from mcutrain.ir import Graph, Node, Tensor

UNARY = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})


def layout(graph: Graph) -> Graph:
    """An equal graph with as few Transposes as one sweep can do with.

    Transposes move through elementwise operators, softmax, padding and batch
    normalization, cancel with their inverse, turn into Reshapes when they move
    axes of length one only, and from a flattening in front of a Dense into its weight.
    Inputs and outputs keep their shapes.
    """
    return _Sweep(graph).run()


class _Sweep:
    """State of one sweep: the graph under construction and the view each source tensor has become."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.result = Graph(graph.name, inputs=list(graph.inputs))
        self.views: dict[str, View] = {}
        self.made: dict[View, str] = {}
        self.readers = graph.consumers()
        self.uses = Counter(name for node in graph.nodes for name in node.inputs)
        self.uses.update(graph.outputs)

    def run(self) -> Graph:
        for tensor in self.source.tensors.values():
            if tensor.persistent:
                self.result.add_tensor(tensor)
                self.views[tensor.name] = View.of(tensor)
        rules: dict[str, Callable[[Node], None]] = {
            **dict.fromkeys(UNARY, self.unary),
            **dict.fromkeys(BINARY, self.binary),
            **dict.fromkeys(("Softmax", "LogSoftmax", "BatchNormalization"), self.along_axis),
            "Transpose": self.transpose,
            "Reshape": self.reshape,
            "Pad": self.pad,
            "Dense": self.dense,
        }
        for node in self.source.nodes:
            rules.get(node.op, self.fixed)(node)
        self.result.outputs = [self.place(self.views[name], "") for name in self.source.outputs]
        return self.result

    # -- construction ---------------------------------------------------------------------------

    def emit(self, node: Node, shape: tuple[int, ...]) -> Tensor:
        """Append a node with one output, of this shape and otherwise as in the source graph."""
        tensor = self.result.add_tensor(replace(self.source.tensors[node.outputs[0]], shape=shape))
        self.result.nodes.append(node)
        return tensor

    def place(self, view: View, source: str) -> str:
        """Name of a tensor with the view's data in the view's shape; nodes are added where needed."""
        if not view.steps and view.shape == view.base_shape:
            return view.base
        if view not in self.made:
            dtype = self.result.tensors[view.base].dtype
            name = self.result.unique_name(f"{view.base}.view")
            self.result.add_tensor(Tensor(name, view.shape, dtype))
            if view.steps and view.steps[-1].kind == "transpose":
                permutation = view.steps[-1].value
                target = view.shapes()[-1]
                if view.shape != target:
                    before = replace(view, shape=target)
                    node = Node("Reshape", (self.place(before, source),), (name,), {"shape": view.shape})
                else:
                    before = replace(view, steps=view.steps[:-1], shape=view.shapes()[-2])
                    node = Node("Transpose", (self.place(before, source),), (name,), {"perm": permutation})
            else:
                steps = view.steps[:-1]
                shape = View(view.base, view.base_shape, (), steps).shapes()[-1] if steps else view.base_shape
                before = View(view.base, view.base_shape, shape, steps)
                node = Node("Reshape", (self.place(before, source),), (name,), {"shape": view.shape})
            self.result.nodes.append(replace(node, source=source))
            self.made[view] = name
        return self.made[view]

    def placed(self, node: Node) -> tuple[str, ...]:
        return tuple(self.place(self.views[name], node.source) if name else "" for name in node.inputs)

    # -- rules ------------------------------------------------------------------------------------

    def fixed(self, node: Node) -> None:
        """An operator with a layout of its own."""
        inputs = self.placed(node)
        self.result.nodes.append(replace(node, inputs=inputs))
        for name in node.outputs:
            self.views[name] = View.of(self.result.add_tensor(self.source.tensors[name]))

    def transpose(self, node: Node) -> None:
        self.views[node.outputs[0]] = self.views[node.inputs[0]].transpose(tuple(node.attrs["perm"]))

    def reshape(self, node: Node) -> None:
        shape = self.source.tensors[node.outputs[0]].shape
        self.views[node.outputs[0]] = self.views[node.inputs[0]].reshape(shape)

    def unary(self, node: Node) -> None:
        view = self.views[node.inputs[0]]
        out = self.emit(replace(node, inputs=(view.base,)), view.base_shape)
        self.views[node.outputs[0]] = view.on(out)

    def along_axis(self, node: Node) -> None:
        """An operator that treats one axis specially; the operands after the first are vectors."""
        view = self.views[node.inputs[0]]
        axes = view.axes()
        axis = node.attrs["axis"]
        if axes is None or axis not in axes or view.shape[axis] == 1:
            self.fixed(node)
            return
        operands = (view.base, *self.placed(replace(node, inputs=node.inputs[1:])))
        out = self.emit(replace(node, inputs=operands).with_attrs(axis=axes[axis]), view.base_shape)
        self.views[node.outputs[0]] = view.on(out)

    def pad(self, node: Node) -> None:
        """In the layout of its input, or the one that all its users turn it to (a convolution, mostly)."""
        view = self.views[node.inputs[0]]
        padded = [i for i in range(len(view.shape)) if node.attrs["begin"][i] or node.attrs["end"][i]]
        if any(view.shape[axis] == 1 for axis in padded):
            self.fixed(node)  # the axis is to hold data: its place matters from here on
            return
        users = self.readers[node.outputs[0]]
        wanted = {tuple(n.attrs["perm"]) if n.op == "Transpose" else () for n in users}
        if (
            not view.steps
            and len(wanted) == 1
            and () not in wanted
            and node.outputs[0] not in self.source.outputs
        ):
            (permutation,) = wanted
            turned = self.result.tensors[self.place(view.transpose(permutation), node.source)]
            view = View.of(turned).transpose(inverse(permutation))
        axes = view.axes()
        if axes is None:
            self.fixed(node)
            return
        begin, end = [0] * len(view.base_shape), [0] * len(view.base_shape)
        for axis in padded:
            begin[axes[axis]], end[axes[axis]] = node.attrs["begin"][axis], node.attrs["end"][axis]
        base_shape = tuple(b + d + e for b, d, e in zip(begin, view.base_shape, end, strict=True))
        moved = replace(node, inputs=(view.base,)).with_attrs(begin=tuple(begin), end=tuple(end))
        out = self.emit(moved, base_shape)
        shape = self.source.tensors[node.outputs[0]].shape
        self.views[node.outputs[0]] = View(out.name, base_shape, shape, view.steps)

    def binary(self, node: Node) -> None:
        """Work in the layout of the operand that needs the fewest transposes of the other."""
        views = [self.views[name] for name in node.inputs]
        shape = self.source.tensors[node.outputs[0]].shape
        best: tuple[int, View, list[View]] | None = None
        for leader in views:
            if leader.shape != shape or self.result.tensors[leader.base].kind in ("parameter", "constant"):
                continue
            followers = [leader if v is leader else _aligned(v, leader) for v in views]
            operands = [
                View(v.base, v.base_shape, v.base_shape) if v is leader else v for v in followers if v
            ]
            if len(operands) != len(views):
                continue
            cost = sum(self.cost(v) for v in operands)
            if best is None or cost < best[0]:
                best = cost, leader, operands
        if best is None or best[0] > sum(self.cost(v) for v in views):
            self.fixed(node)
            return
        _, leader, operands = best
        inputs = tuple(self.place(v, node.source) for v in operands)
        out = self.emit(replace(node, inputs=inputs), leader.base_shape)
        self.views[node.outputs[0]] = leader.on(out)

    def cost(self, view: View) -> int:
        """Elements that a view would move at run time."""
        moves = not view.free and view not in self.made
        persistent = self.result.tensors[view.base].kind in ("parameter", "constant")
        return int(np.prod(view.shape)) if moves and not persistent else 0

    def dense(self, node: Node) -> None:
        """Let the weight's columns follow the flattened activation's own order.

        The sum is then taken in the order of our layout, and nothing moves.
        """
        x, w = self.views[node.inputs[0]], self.views[node.inputs[1]]
        weight = self.result.tensors[w.base]
        alone = weight.kind == "constant" or (self.uses[w.base] == 1 and self.uses[node.inputs[1]] == 1)
        kinds = [step.kind for step in x.steps[-2:]]
        movable = weight.kind in ("parameter", "constant") and alone and len(w.shape) == len(x.shape) == 2
        if not movable or kinds != ["transpose", "reshape"]:
            self.fixed(node)
            return
        rows, length = x.shape
        permutation, flattened = x.steps[-2].value, x.shapes()[-2]
        if rows != 1:
            if permutation[0] != 0 or flattened[0] != rows:
                self.fixed(node)
                return
            permutation, flattened = tuple(p - 1 for p in permutation[1:]), flattened[1:]
        before = x.shapes()[-3]
        self.views[node.inputs[0]] = View(x.base, x.base_shape, before, x.steps[:-2]).reshape((rows, length))
        order = (0, *(1 + i for i in inverse(permutation)))
        columns = w.reshape((w.shape[0], *flattened)).transpose(order).reshape(w.shape)
        self.views[node.inputs[1]] = columns
        self.fixed(node)
        self.views[node.inputs[0]], self.views[node.inputs[1]] = x, w


def _aligned(view: View, leader: View) -> View | None:
    """``view``, which broadcasts to ``leader``, in the layout of ``leader``'s base; None if it cannot be."""
    if view.shape == leader.shape:
        return view.undo(leader)
    if any(step.kind == "reshape" for step in leader.steps):
        return view.reshape((1,) * len(leader.base_shape)) if not squeezed(view.shape) else None
    axes = leader.axes()
    assert axes is not None
    dims = (1,) * (len(leader.shape) - len(view.shape)) + view.shape
    carried = {base: axis for axis, base in axes.items() if leader.shape[axis] != 1}
    order = tuple(carried[base] for base in sorted(carried))
    units = tuple(axis for axis in range(len(dims)) if axis not in order)
    moved = view.reshape(dims).transpose(order + units)
    return moved.reshape(
        tuple(dims[carried[b]] if b in carried else 1 for b in range(len(leader.base_shape)))
    )
