"""Small ONNX models for the importer's tests, and their comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mcutrain.compiler.onnx_io import ImportedModel, load_model
from mcutrain.ir import Array, verify
from mcutrain.ops import op_for
from mcutrain.reference import run_graph


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> onnx.NodeProto:
    """A node from space-separated names; '-' is an absent input."""
    names = ["" if i == "-" else i for i in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"{op}_{outputs.split()[0]}", **attrs)


def model(
    shape: Sequence[int | str],
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any] | None = None,
    opset: int = 17,
    output: str = "y",
) -> onnx.ModelProto:
    """A model from input 'x' of ``shape`` to ``output``; arrays keep their types, numbers are float32."""
    tensors = []
    for name, value in (weights or {}).items():
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
        tensors.append(numpy_helper.from_array(array, name))
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    proto.graph.output[0].type.tensor_type.shape.SetInParent()  # where nothing is inferred
    return proto


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def int64(*values: int) -> Array:
    return np.array(values, np.int64)


def onnxruntime_output(proto: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def assert_close(actual: Array, wanted: Array, tolerance: float = 2e-5) -> None:
    """Same shape, and no element further off than ``tolerance`` relative to the largest; NaN fails."""
    assert actual.shape == wanted.shape
    scale = max(float(np.max(np.abs(wanted), initial=0.0)), 1.0)
    worst = float(np.max(np.abs(actual.astype(np.float64) - wanted), initial=0.0))
    assert worst <= tolerance * scale, f"off by {worst} of {scale}"


def assert_types(imported: ImportedModel) -> None:
    """Every node's output has the type that its operator infers."""
    graph = imported.graph
    verify(graph)
    for n in graph.nodes:
        inferred = op_for(n.op).infer(n, graph.input_tensors(n))
        assert inferred == [(t.shape, t.dtype) for t in graph.output_tensors(n)], n
    for tensor in graph.used_tensors():
        if tensor.origin is not None:
            assert tensor.data is not None
            assert np.array_equal(tensor.origin.to_device(tensor.origin.to_onnx(tensor.data)), tensor.data)


def check(proto: onnx.ModelProto, seed: int = 0, tolerance: float = 2e-5) -> ImportedModel:
    """Import, check types, compare with ONNX Runtime on a random input; returns the imported model."""
    imported = load_model(proto)
    assert_types(imported)
    x = normal(*imported.graph.tensors["input"].shape, seed=seed)
    y = run_graph(imported.graph, {"input": x})["output"]
    assert_close(y, onnxruntime_output(proto, x), tolerance)
    return imported


def operators(imported: ImportedModel) -> list[str]:
    return [n.op for n in imported.graph.nodes]
