"""A build to profile."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcutrain
from mcutrain.manifest import Manifest


@pytest.fixture(scope="session")
def dense_build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Path:
    """The dense model on target native, mixed, cross-entropy."""
    out = tmp_path_factory.mktemp("profiling") / "dense"
    mcutrain.compile(dense_model, target="native", precision="mixed", loss="cross-entropy", out=out)
    return out


@pytest.fixture(scope="session")
def dense_manifest(dense_build: Path) -> Manifest:
    return Manifest.read(dense_build)
