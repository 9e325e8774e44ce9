"""Programs of the analytic head (``analytic-head``): the last dense layer as a ridge regression.

head_features   input → the features, T [N, D], and head.features
gram_learn      label|target → admitted i32[N]: the sample of head.features into the counts
gram_forget     label|target → admitted i32[N]: out of them
head_solve      head_ridge f32[1] = γ → solved i32[1]: the layer's weights from the counts

State: ``head.scale`` f32[2] (of features, and of a regression's targets; the host writes it before
anything is learned), ``head.features`` i8[N, M], ``head.gram`` i32[M(M+1)/2], ``head.targets`` i32[C, M]
(regression: i32[2, C, M], high and low words) and ``head.count`` i32[1].  M is D + 1 with a bias, else D.
A row whose label is no class, or whose target is not finite, does not count.  See :mod:`mcutrain.ops.head`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.compiler.autodiff import append
from mcutrain.errors import OptionError
from mcutrain.ir import Graph, Node, Tensor, prune
from mcutrain.manifest import Loss
from mcutrain.ops.head import triangle

#: What may stand between the head and the model's output.
_AFTER = frozenset({"Reshape", "Softmax", "LogSoftmax"})


@dataclass(frozen=True)
class Head:
    """The last layer: names of its operands, and its sizes."""

    features: str
    weight: str
    #: or the empty string
    bias: str
    rows: int
    depth: int
    classes: int

    @property
    def size(self) -> int:
        """Numbers a sample has: its features and, with a bias, the constant."""
        return self.depth + bool(self.bias)


def find_head(graph: Graph) -> Head:
    """The dense layer that ends the forward graph; raises OptionError when it ends in something else."""
    producers = graph.producers()
    node = producers.get(graph.outputs[0])
    while node is not None and node.op in _AFTER:
        node = producers.get(node.inputs[0])
    if node is None or not _is_head(graph, node):
        raise OptionError(
            "analytic-head needs a model that ends in a dense layer with weights of its own"
            f", not in {node.op if node else 'its input'}",
            "leave analytic-head out of --unlearn, or end the model in such a layer",
        )
    x, w, *rest = node.inputs
    rows, depth = graph.tensors[x].shape
    return Head(x, w, rest[0] if rest else "", rows, depth, graph.tensors[w].shape[0])


def _is_head(graph: Graph, node: Node) -> bool:
    if node.op != "Dense" or node.attrs.get("activation", "none") != "none":
        return False
    x, *parameters = (graph.tensors[name] for name in node.inputs if name)
    uses = [name for other in graph.nodes for name in other.inputs]
    return (
        len(x.shape) == 2
        and len(parameters[0].shape) == 2
        and all(p.kind == "parameter" and uses.count(p.name) == 1 for p in parameters)
    )


def head_programs(graph: Graph, infer: Graph, loss: Loss | None) -> list[Graph]:
    """The four Programs; ``graph`` is the forward graph and ``infer`` the same lowered."""
    head, regression = find_head(graph), loss == "mse"
    return [
        _head_features(infer, head),
        _gram("gram_learn", head, 1, regression),
        _gram("gram_forget", head, -1, regression),
        _head_solve(infer, head, regression),
    ]


def _state(program: Graph, head: Head, name: str, regression: bool = False) -> str:
    classes = (2, head.classes) if regression else (head.classes,)
    tensors = {
        "scale": Tensor("head.scale", (2,), "f32", "state"),
        "features": Tensor("head.features", (head.rows, head.size), "i8", "state"),
        "gram": Tensor("head.gram", (triangle(head.size),), "i32", "state"),
        "targets": Tensor("head.targets", (*classes, head.size), "i32", "state"),
        "count": Tensor("head.count", (1,), "i32", "state"),
    }
    return program.add_tensor(tensors[name]).name


def _head_features(infer: Graph, head: Head) -> Graph:
    program = infer.copy()
    program.name, program.outputs = "head_features", [head.features, "head.features"]
    scale, features = _state(program, head, "scale"), _state(program, head, "features")
    attrs = {"constant": bool(head.bias)}
    append(program, "HeadFeatures", [head.features, scale], attrs, name="head.quantise", outputs=[features])
    return prune(program, keep=program.inputs)


def _gram(name: str, head: Head, sign: int, regression: bool) -> Graph:
    program = Graph(name)
    label = Tensor("label", (head.rows,), "i32", "input")
    target = Tensor("target", (head.rows, head.classes), "f32", "input")
    given = program.add_tensor(target if regression else label).name
    program.inputs.append(given)
    count = _state(program, head, "count")
    attrs = {"sign": sign, "classes": head.classes, "regression": regression}
    outputs = ["admitted", count]
    append(program, "HeadAdmit", [given, count], attrs, name="head.admit", outputs=outputs)
    gram, targets = _state(program, head, "gram"), _state(program, head, "targets", regression)
    features, scale = _state(program, head, "features"), _state(program, head, "scale")
    inputs = [features, "admitted", given, scale, gram, targets]
    append(program, "GramUpdate", inputs, name="head.update", outputs=[gram, targets])
    program.outputs = ["admitted"]
    return program


def _head_solve(infer: Graph, head: Head, regression: bool) -> Graph:
    program = Graph("head_solve", inputs=["head_ridge"])
    program.add_tensor(Tensor("head_ridge", (1,), "f32", "input"))
    gram = _state(program, head, "gram")
    outputs = ["factor", "solved"]
    append(program, "GramFactor", [gram, "head_ridge"], name="head.factor", outputs=outputs)
    targets, scale = _state(program, head, "targets", regression), _state(program, head, "scale")
    written = [program.add_tensor(infer.tensors[name]).name for name in (head.weight, head.bias) if name]
    inputs = ["factor", "solved", targets, scale, head.weight, head.bias]
    append(program, "HeadWeights", inputs, name="head.solve", outputs=written)
    program.outputs = ["solved"]
    return program
