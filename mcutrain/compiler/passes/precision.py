"""Mixed precision: FP16 tensors round FP32 masters.

Before this pass every float tensor is f32.  In ``mixed`` every activation
becomes f16 and so do constants and frozen parameters; trained parameters stay
f32 and are rounded to f16 right before each use, so that a copy lives no
longer than its layer; that of a small one is kept, and that of each where all are
rounded by one call (:func:`~mcutrain.compiler.passes.together.join_rounding`).  Biases,
accumulators, losses and everything the optimizer touches stay f32 (numerics.md, precision modes).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from mcutrain.errors import ModelError
from mcutrain.ir import Graph, Node, Tensor

#: Operands that are f32 in every precision mode, by position.
F32_OPERANDS: dict[str, frozenset[int]] = {
    "Conv2d": frozenset({2}),
    "DepthwiseConv2d": frozenset({2}),
    "Dense": frozenset({2}),
    "DenseUpdate": frozenset({2, 3, 4, 5}),
    "CrossEntropy": frozenset({2}),
    "MeanSquaredError": frozenset({1, 2}),
    "MeanSquaredErrorLoss": frozenset({1}),
    "AttentionError": frozenset({0, 1, 2, 3}),
    "AttentionGradient": frozenset({1}),
    "UnlearningLoss": frozenset({2, 3, 4}),
    "UnlearningRegressionLoss": frozenset({1, 2, 3}),
}
#: Inputs that are f32 in every precision mode.
F32_INPUTS = frozenset({"hyper", "target", "reference_scores", "reference_attention", "unlearn_switch"})
#: Outputs that are f32 in every precision mode, by position.
F32_OUTPUTS: dict[str, frozenset[int]] = {
    "CrossEntropy": frozenset({0}),
    "CrossEntropyLoss": frozenset({0}),
    "MeanSquaredError": frozenset({0}),
    "MeanSquaredErrorLoss": frozenset({0}),
    "SumSquares": frozenset({0}),
    "AttentionEnergy": frozenset({0}),
    "AttentionError": frozenset({0, 1}),
    "UnlearningLoss": frozenset({0}),
    "UnlearningRegressionLoss": frozenset({0}),
}
#: Elements of a parameter whose rounded copy is kept for the backward pass: making it anew costs more.
_KEPT = 1024
#: Operators on f32 state only: nothing in them is re-typed.
F32_OPS = frozenset({"Fill", "FiniteCheck", "Sgd", "LossScaleUpdate", "SumSquares"})


def stays_f32(node: Node, position: int) -> bool:
    """Whether operand ``position`` of ``node`` is f32 in every precision mode."""
    return node.op in F32_OPS or position in F32_OPERANDS.get(node.op, ())


def f16_parameters(graph: Graph, trained: Collection[str]) -> set[str]:
    """Frozen parameters that no node needs in f32: stored in f16 only.

    ``graph`` is the forward graph; every Program of a build must agree.
    """
    halved = {t.name for t in graph.tensors.values() if t.kind == "parameter" and t.name not in trained}
    for node in graph.nodes:
        halved.difference_update(name for i, name in enumerate(node.inputs) if stays_f32(node, i))
    return halved


def _to_f16(tensor: Tensor) -> Tensor:
    data = tensor.data
    if data is not None:
        with np.errstate(over="ignore"):
            data = data.astype(np.float16)
        if not np.isfinite(data).all():
            raise ModelError(
                f"'{tensor.name}' holds values beyond ±65504, which FP16 cannot represent",
                "scale the model's inputs and constants, or compile with --precision fp32",
            )
    return replace(tensor, dtype="f16", data=data)


def mixed(graph: Graph, halved: Collection[str], *, keep_copies: bool = False) -> Graph:
    """The graph with f16 activations; ``halved`` names the parameters stored in f16.

    With ``keep_copies`` a parameter is rounded once, however large it is.
    """
    out = Graph(graph.name, list(graph.inputs), list(graph.outputs))
    masters: set[str] = set()
    for tensor in graph.tensors.values():
        keep = tensor.dtype != "f32" or tensor.kind == "state" or tensor.name in F32_INPUTS
        if tensor.kind == "parameter":
            keep = tensor.name not in halved
            if keep:
                masters.add(tensor.name)
        # A constant may be wanted in both types; it is halved where it is read.
        out.tensors[tensor.name] = tensor if keep or tensor.kind == "constant" else _to_f16(tensor)
    for node in graph.nodes:
        if node.op in F32_OPS:
            for name in node.outputs:
                out.tensors[name] = graph.tensors[name]
            out.nodes.append(node)
            continue
        for position in F32_OUTPUTS.get(node.op, ()):
            name = node.outputs[position]
            out.tensors[name] = graph.tensors[name]
        if node.op == "Reshape" and node.inputs[0] in masters:
            # A view of a master; whoever reads it rounds it.
            out.tensors[node.outputs[0]] = graph.tensors[node.outputs[0]]
            masters.add(node.outputs[0])
            out.nodes.append(node)
            continue
        if node.op == "Transpose" and node.inputs[0] in masters:
            if keep_copies and graph.tensors[node.inputs[0]].kind == "parameter":
                copy = _rounded(out, node, node.inputs[0], masters, keep_copies)
                out.nodes.append(replace(node, inputs=(copy,)))
                continue
            out.nodes.append(node.with_attrs(dtype="f16"))
            continue
        inputs = [
            name if not name or stays_f32(node, i) else _rounded(out, node, name, masters, keep_copies)
            for i, name in enumerate(node.inputs)
        ]
        out.nodes.append(replace(node, inputs=tuple(inputs)))
    return out


def _rounded(out: Graph, node: Node, name: str, masters: Collection[str], keep: bool) -> str:
    """The f16 operand for ``name``: a rounded copy of a master or constant, or the tensor itself."""
    tensor = out.tensors[name]
    if tensor.kind == "constant" and tensor.dtype == "f32":
        return out.add_tensor(_to_f16(replace(tensor, name=f"{name}.f16"))).name
    if name not in masters:
        return name
    kept = f"{name}.f16"
    if (keep or tensor.size <= _KEPT) and kept in out.tensors:
        return kept
    copy = out.unique_name(kept)
    out.tensors[copy] = Tensor(copy, tensor.shape, "f16")
    out.nodes.append(Node("Cast", (name,), (copy,), {"dtype": "f16"}, f"{node.name}.round", node.source))
    return copy
