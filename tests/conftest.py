"""What every test may ask for, and why a test is skipped when it is not there."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcutrain.errors import SimulatorError
from mcutrain.simulators import gvsoc

PROJECT = Path(__file__).resolve().parent.parent
MLPERF_TINY = PROJECT.parent / "shared" / "data" / "mlperf_tiny"


def _missing(marker: str) -> str:
    """The reason why tests with this marker cannot run here, or the empty string."""
    if marker == "qemu" and shutil.which("qemu-system-riscv32") is None:
        return "qemu-system-riscv32 is not installed (Debian: apt-get install qemu-system-misc)"
    if marker == "gvsoc":
        try:
            gvsoc.probe(gvsoc.find())
        except SimulatorError as error:
            return error.reason
    if marker == "data" and not MLPERF_TINY.is_dir():
        return "the MLPerf Tiny models and data are not beside the project (../shared/data/mlperf_tiny)"
    return ""


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and so would every process it starts; some tests send it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker in ("qemu", "gvsoc", "data"):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = _missing(marker) if marked else ""
        if reason:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def mlperf_tiny() -> Path:
    """The folder with the MLPerf Tiny models and data; use with ``@pytest.mark.data``."""
    return MLPERF_TINY


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


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of :func:`make_dense_model`; it takes scikit-learn's digits."""
    return make_dense_model(tmp_path_factory.mktemp("model") / "dense.onnx")
