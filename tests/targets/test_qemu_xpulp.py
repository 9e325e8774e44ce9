"""Target qemu-xpulp: whole training steps by PULP's kernels on stock QEMU have the reference's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS

import mcutrain
from mcutrain import data
from mcutrain.build import Build
from mcutrain.executor import Array
from mcutrain.manifest import Precision
from mcutrain.targets import find_target
from mcutrain.verification import make_batches, verify

TARGET = "qemu-xpulp"
#: vfdotpex.s.h between any registers
DOT_MASK, DOT = 0xFE00707F, 0x4B << 25 | 0x33


def test_it_is_qemu_with_the_kernels_of_pulp() -> None:
    target, base = find_target(TARGET), find_target("qemu")
    assert set(base.sources) < set(target.sources)
    assert (target.simulator, target.flags, target.dot) == ("qemu", base.flags, base.dot)
    assert target.definitions.items() > base.definitions.items()
    assert target.definitions["MCT_XPULP"] == "1"


def dots(build: Build) -> int:
    """How many of the firmware's instructions are a dot product of PULP's."""
    image = build.firmware_path.read_bytes()
    halves = np.frombuffer(image[: len(image) // 2 * 2], "<u2").astype(np.uint32)
    words = halves[:-1] | halves[1:] << 16
    return int(((words & DOT_MASK) == DOT).sum())


def check(build: Build, x: Array, y: Array, steps: int, workers: tuple[int, ...] = (8,)) -> None:
    """Every tensor of every step is the same on the target and in NumPy."""
    batches = make_batches(build.manifest, x, y, steps)
    for team in workers:
        with build.session(workers=team) as device, build.reference() as reference:
            report = verify(device.executor, reference.executor, build.manifest, batches, lr=1e-3)
        assert report.equal, f"{team} workers: {report.difference}"
        assert (report.steps, report.skipped) == (steps, 0)


@pytest.mark.qemu
@pytest.mark.parametrize("precision", ["mixed", "fp32"])
@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks(network: str, precision: Precision) -> None:
    make, loss, _ = NETWORKS[network]
    build = mcutrain.compile(make(), target=TARGET, precision=precision, loss=loss, momentum=True)  # type: ignore[arg-type]
    # numbers may look like one now and then
    assert (dots(build) > 10) == (precision == "mixed")
    entry, rng = build.manifest.tensor("input"), np.random.default_rng(3)
    x = rng.normal(size=(2 * entry.shape[0], *entry.shape[1:])).astype(np.float32)
    y = rng.normal(size=(6, 9)).astype(np.float32) if loss == "mse" else np.array([2, 0])
    check(build, x, y, steps=2, workers=(8, 3))


@pytest.mark.qemu
@pytest.mark.data
def test_a_step_of_a_real_model(mlperf_tiny: Path) -> None:
    build = mcutrain.compile(
        mlperf_tiny / "dscnn_kws.onnx", target=TARGET, precision="mixed", loss="cross-entropy"
    )
    x, y = data.load(mlperf_tiny / "kws01.npz").part("train", data.ModelShape.of(build.manifest))
    check(build, x, y, steps=1)
