"""What every test may ask for, and why a test is skipped when it is not there."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from dense_model import make_dense_model

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


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file, input [batch, 64], two dense layers; it takes scikit-learn's digits."""
    return make_dense_model(tmp_path_factory.mktemp("model") / "dense.onnx")
