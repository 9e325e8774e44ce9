"""ReLU of elements that stream through L1: subnormal numbers and negative zero as everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain.verification import make_batches, verify


@pytest.mark.parametrize("precision", ["mixed", "fp32"])
@pytest.mark.parametrize("count", [256, 4099])
@pytest.mark.parametrize(
    "target",
    [pytest.param("qemu-xpulp", marks=pytest.mark.qemu), pytest.param("gvsoc", marks=pytest.mark.gvsoc)],
)
def test_relu(tmp_path: Path, target: str, count: int, precision: str) -> None:
    rng = np.random.default_rng(count)
    weights = rng.standard_normal((2, count)).astype(np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w"], ["y"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    build = mcutrain.compile(path, target=target, precision=precision)  # type: ignore[arg-type]
    x = rng.standard_normal((1, count)).astype(np.float32)
    x[0, :8] = [0.0, -0.0, 6e-8, -6e-8, 1e-9, -1e-9, 60000.0, -60000.0]
    with build.session() as device, build.reference() as reference:
        report = verify(
            device.executor, reference.executor, build.manifest, make_batches(build.manifest, x, None, 1)
        )
    assert report.equal, report.difference
