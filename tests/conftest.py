"""What every test may ask for, and why a test is skipped when it is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
MLPERF_TINY = PROJECT.parent / "shared" / "data" / "mlperf_tiny"


def _missing(marker: str) -> str:
    """The reason why tests with this marker cannot run here, or the empty string."""
    if marker == "qemu" and shutil.which("qemu-system-riscv32") is None:
        return "qemu-system-riscv32 is not installed (Debian: apt-get install qemu-system-misc)"
    if marker == "gvsoc" and shutil.which("gvsoc") is None:
        return "gvsoc is not installed"
    if marker == "data" and not MLPERF_TINY.is_dir():
        return "the MLPerf Tiny models and data are not beside the project (../shared/data/mlperf_tiny)"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker in ("qemu", "gvsoc", "data"):
        reason = _missing(marker)
        if reason:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def mlperf_tiny() -> Path:
    """The folder with the MLPerf Tiny models and data; use with ``@pytest.mark.data``."""
    return MLPERF_TINY
