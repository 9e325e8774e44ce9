"""ONNX in and out: :func:`load_model` gives a graph of our operators, :func:`save_model` the trained model.

What the compiler does not support is refused here, before anything is
generated, with the node's name, its operator, the attribute and a way out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from mcutrain.compiler.onnx_export import save_model
from mcutrain.compiler.onnx_import import Importer, naming, reader, supported_operators
from mcutrain.compiler.onnx_import.constants import fold
from mcutrain.compiler.onnx_import.context import OnnxNode, Static, handler_for
from mcutrain.compiler.passes.fold import FoldedBatchNorm, fold_batch_norms, fold_views
from mcutrain.compiler.passes.fuse import fuse_activation, fuse_bias, fuse_padding
from mcutrain.compiler.passes.layout import layout
from mcutrain.errors import McutrainError, ModelError, UnsupportedError
from mcutrain.ir import Graph, Tensor, prune, verify

__all__ = ["FoldedBatchNorm", "ImportedModel", "load_model", "save_model"]

#: What to do about operators that models often have and we don't.
_REMEDIES = {
    "ConvTranspose": "use an upsampling-free model, or end the model before it",
    "QuantizeLinear": "export the float model: training needs activations in floating point",
    "DequantizeLinear": "export the float model: only weights may be quantized",
    "QLinearConv": "export the float model",
    "ConvInteger": "export the float model",
    "Concat": "add branches instead of concatenating them",
    "If": "export the model without control flow",
    "Loop": "export the model without control flow",
}


@dataclass
class ImportedModel:
    """A model as the compiler sees it, and what is needed to write it back.

    ``graph`` has one input 'input' and one output 'output', in the ONNX model's
    own shapes with batch 1; parameters are named after their layer and know
    their origin.
    """

    graph: Graph
    proto: onnx.ModelProto = field(repr=False)
    folded: list[FoldedBatchNorm] = field(default_factory=list, repr=False)

    @property
    def parameters(self) -> list[Tensor]:
        """What can be trained, in execution order."""
        return [t for t in self.graph.used_tensors() if t.kind == "parameter"]


def load_model(model: str | os.PathLike[str] | onnx.ModelProto) -> ImportedModel:
    """Read, check and canonicalise an ONNX model (opset 11 to 22, one float32 input and output).

    Raises ModelError for a file that is damaged or not a valid model,
    UnsupportedError for one with something the compiler has no operator for.
    """
    proto = reader.read_proto(model)
    graph = _translate(proto)
    graph, folded = _canonical(graph, _bias_namer(proto))
    graph = naming.name_layers(graph)
    _expect_finite(graph)
    verify(graph)
    return ImportedModel(graph, proto, folded)


def _translate(proto: onnx.ModelProto) -> Graph:
    """The model node by node, with Transposes wherever layouts differ."""
    ctx = Importer(proto.graph.name or "model", reader.opset(proto) or 0)
    given, wanted = reader.sole_input(proto), reader.sole_output(proto)
    for initializer in proto.graph.initializer:
        array = reader.to_array(initializer)
        origin = naming.origin(initializer.name, array)
        ctx.values[initializer.name] = Static(array, origin)
    shape = reader.static_shape(given, "input")
    entry = ctx.graph.add_tensor(Tensor("input", shape, "f32", "input"))
    ctx.graph.inputs = [entry.name]
    ctx.values[given.name] = entry
    nodes, needed = _needed(proto, wanted.name)
    for index, node_proto in enumerate(nodes):
        _translate_node(ctx, OnnxNode(node_proto, index, needed))
    result = ctx.values.get(wanted.name)
    if not isinstance(result, Tensor):
        raise UnsupportedError(f"output '{wanted.name}' does not depend on the input", "correct the model")
    for name in ctx.frozen & ctx.persistent.keys():
        tensor = ctx.persistent[name]
        ctx.graph.tensors[tensor] = replace(ctx.graph.tensors[tensor], kind="constant")
    ctx.graph.outputs = [result.name]
    return prune(ctx.graph)


def _needed(proto: onnx.ModelProto, output: str) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes the output depends on, in the model's order, and the names of all it needs."""
    wanted, kept = {output}, []
    for node in reversed(proto.graph.node):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1], wanted


def _translate_node(ctx: Importer, node: OnnxNode) -> None:
    handler = handler_for(node.op)
    try:
        if fold(ctx, node):
            return
        if handler is None:
            raise node.unsupported(
                "this operator is not supported",
                _REMEDIES.get(node.op, f"replace it; supported are {', '.join(supported_operators())}"),
            )
        if any(node.outputs[1:]):
            what = f"its output '{next(filter(None, node.outputs[1:]))}' is not supported"
            raise node.unsupported(what, "use its first output only, or export the model in inference mode")
        handler(ctx, node)
    except McutrainError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as e:
        # attributes and constants of kinds that the operator does not have
        raise node.invalid(f"it cannot be understood ({type(e).__name__}: {e})") from e


def _canonical(graph: Graph, new_bias_name: Callable[[str], str]) -> tuple[Graph, list[FoldedBatchNorm]]:
    graph = fold_views(layout(graph))
    graph = fold_views(fuse_bias(graph))
    graph, folded = fold_batch_norms(graph, new_bias_name)
    graph = fold_views(fuse_padding(fuse_activation(graph)))
    return prune(graph), folded


def _bias_namer(proto: onnx.ModelProto) -> Callable[[str], str]:
    """Name of a new bias for a weight: 'conv.weight' → 'conv.bias', and never one that is taken."""
    taken: set[str] = set()
    for node in proto.graph.node:
        taken.update(node.input, node.output)
    taken.update(t.name for t in proto.graph.initializer)

    def name(weight: str) -> str:
        stem = weight.removesuffix("weight") + "bias" if weight.endswith("weight") else f"{weight}.bias"
        found = naming.fresh(stem, taken)
        taken.add(found)
        return found

    return name


def _expect_finite(graph: Graph) -> None:
    for tensor in graph.used_tensors():
        if tensor.kind in ("parameter", "constant") and not np.all(np.isfinite(np.asarray(tensor.data))):
            name = tensor.origin.initializer if tensor.origin else tensor.name
            raise ModelError(
                f"initializer '{name}' ({tensor.name}) has elements that are NaN or infinite",
                "export the model from a checkpoint before training diverged",
            )
