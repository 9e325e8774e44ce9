"""Whole training steps on firmware that GCC built with its address and undefined-behaviour sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS

import mcutrain
from mcutrain.compiler.toolchain import COMPILER_VARIABLE, FLAGS_VARIABLE
from mcutrain.manifest import Precision
from mcutrain.verification import make_batches, verify

FLAGS = "-g -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture
def sanitizers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Firmware is built with GCC's sanitizers; skips where they are not."""
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    command = ["gcc", *FLAGS.split(), str(tmp_path / "empty.c"), "-o", str(tmp_path / "empty")]
    if not shutil.which("gcc") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("GCC with its sanitizers is not installed (Debian: apt-get install gcc)")
    monkeypatch.setenv(COMPILER_VARIABLE, "gcc")
    monkeypatch.setenv(FLAGS_VARIABLE, FLAGS)


@pytest.mark.usefixtures("sanitizers")
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_has_no_bad_access_and_the_same_bits(network: str, precision: Precision) -> None:
    make, loss, _ = NETWORKS[network]
    build = mcutrain.compile(make(), precision=precision, loss=loss, momentum=True)  # type: ignore[arg-type]
    firmware = build.firmware_path.read_bytes()
    assert b"__asan_report" in firmware
    assert b"__ubsan_handle" in firmware
    entry = build.manifest.tensor("input")
    x = np.random.default_rng(3).normal(size=entry.shape).astype(np.float32)
    y = np.zeros((3, 9), np.float32) if loss == "mse" else np.array([2])
    with build.session() as device, build.reference() as reference:
        batches = make_batches(build.manifest, x, y, 1)
        report = verify(device.executor, reference.executor, build.manifest, batches, momentum=0.5)
    assert report.equal, report.difference
