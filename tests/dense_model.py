"""A small ONNX model that takes scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make_dense_model(path: Path, outputs: int = 10) -> Path:
    """A small ONNX model: input [1, 64], dense to 12, Relu, dense to ``outputs``; fixed random weights."""
    rng = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) / 8).astype(np.float32), name)
        for name, shape in (("w1", (12, 64)), ("b1", (12,)), ("w2", (outputs, 12)), ("b2", (outputs,)))
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
