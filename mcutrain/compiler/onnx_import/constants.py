"""Constant folding: nodes whose inputs are all known are evaluated by ONNX's reference."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, Static
from mcutrain.ir import Array, LayoutStep, Origin

#: Nothing that a model computes from constants is larger than this (elements).
LARGEST_CONSTANT = 1 << 26

_FOLDABLE_NAMES = """
    Abs Add And BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos
    DequantizeLinear Div Equal Exp Expand Flatten Floor Gather GatherElements GatherND Gemm Greater
    GreaterOrEqual Identity Less LessOrEqual Log MatMul Max Mean Min Mod Mul Neg NonZero Not OneHot Or
    Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round
    ScatterElements ScatterND Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile TopK
    Transpose Trilu Unsqueeze Where Xor
"""
_FOLDABLE = frozenset(_FOLDABLE_NAMES.split())
#: Operators that the evaluator knows only from a later opset, which means the same.
_EVALUATED_FROM = {"DequantizeLinear": 19}


def fold(ctx: Importer, node: OnnxNode) -> bool:
    """Bind the node's outputs to values if they don't depend on the model's input; False if they do."""
    if node.op in ("Shape", "Size"):
        _fold_shape(ctx, node)
        return True
    given = [i for i in range(len(node.inputs)) if node.has(i)]
    values = [ctx.value(node, i) for i in given]
    sources = [value for value in values if isinstance(value, Static)]
    if len(sources) != len(values) or node.op not in _FOLDABLE:
        return False
    feeds = {node.inputs[i]: source.array for i, source in zip(given, sources, strict=True)}
    _check_size(node, feeds)
    outputs = _evaluate(ctx, node, feeds)
    if sources and _keeps_origin(node, sources[0], outputs[0], ctx):
        return True
    depends = frozenset(name for s in sources for name in {*s.depends, s.origin.initializer})
    # a dequantized weight is as good as an initializer; other computed values are literals
    literal = node.op != "DequantizeLinear" or sources[0].literal
    for name, array in zip(node.outputs, outputs, strict=True):
        if name:
            ctx.values[name] = Static(array, Origin(name, array.shape), literal, depends)
    return True


def _fold_shape(ctx: Importer, node: OnnxNode) -> None:
    shape = ctx.shape(node, 0)
    if node.op == "Size":
        array = np.array(int(np.prod(shape, dtype=np.int64)), np.int64)
    else:
        start, end = node.attr("start", 0), node.attr("end", len(shape))
        array = np.array(shape[slice(start, end)], np.int64)
    ctx.bind_static(node, array, None, None)


def _keeps_origin(node: OnnxNode, source: Static, result: Array, ctx: Importer) -> bool:
    """Bind a result that holds the source's elements in another shape or order."""
    if node.op == "Identity":
        step = None
    elif node.op == "Transpose":
        perm = node.attr("perm", tuple(reversed(range(source.array.ndim))))
        step = LayoutStep("transpose", tuple(int(p) for p in perm))
    elif node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        step = LayoutStep("reshape", result.shape)
    else:
        return False
    ctx.bind_static(node, result, source, step)
    return True


def _check_size(node: OnnxNode, feeds: dict[str, Array]) -> None:
    """Refuse, before evaluating, what would fill the memory."""
    arrays = list(feeds.values())
    elements = 0.0
    if node.op in ("ConstantOfShape", "Expand", "Tile", "Reshape") and arrays:
        counts = arrays[-1].astype(np.float64).ravel()
        elements = float(np.prod(np.abs(counts)))
        if node.op == "Tile":
            elements *= max(arrays[0].size, 1)
        if node.op == "Reshape":
            elements = 0.0
    elif node.op == "Range" and len(arrays) == 3:
        start, limit, delta = (float(a.reshape(-1)[0]) if a.size else 0.0 for a in arrays)
        elements = abs((limit - start) / delta) if delta else np.inf
    elif node.op == "Pad" and len(arrays) > 1:
        pads = np.abs(arrays[1].astype(np.float64)).ravel()
        rank = arrays[0].ndim
        grown = (
            [d + pads[i % len(pads)] + pads[(i + rank) % len(pads)] for i, d in enumerate(arrays[0].shape)]
            if pads.size
            else []
        )
        elements = float(np.prod(grown))
    elif node.op == "OneHot" and len(arrays) > 1:
        elements = float(arrays[0].size) * float(np.max(arrays[1], initial=0))
    else:
        elements = _broadcast_size(arrays)
    if not elements <= LARGEST_CONSTANT:
        raise node.invalid(f"it computes a constant of {elements:.3g} elements")


def _broadcast_size(arrays: list[Array]) -> float:
    rank = max((a.ndim for a in arrays), default=0)
    shapes = [(1,) * (rank - a.ndim) + a.shape for a in arrays]
    return (
        float(np.prod([max(dims) for dims in zip(*shapes, strict=True)], dtype=np.float64))
        if rank <= 8
        else 0.0
    )


def _evaluate(ctx: Importer, node: OnnxNode, feeds: dict[str, Array]) -> list[Array]:
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.proto.attribute):
        raise node.unsupported("it contains a graph of its own", "export the model without control flow")
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.proto.output if name
    ]
    version = max(ctx.opset, _EVALUATED_FROM.get(node.op, 0))
    graph = helper.make_graph([node.proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as e:  # whatever wrong operands provoke in the evaluator
        raise node.invalid(
            f"it cannot be evaluated: {str(e).splitlines()[0] if str(e) else type(e).__name__}"
        ) from e
    arrays = iter(results)
    found = [np.asarray(next(arrays)) if name else np.zeros(()) for name in node.proto.output]
    for array in found:
        node.require(
            array.dtype.kind in "fiub" or array.dtype.kind == "V", f"it computes values of type {array.dtype}"
        )
    return found
