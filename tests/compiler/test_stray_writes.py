"""Every kernel call of a training step changes its outputs and workspace in the arena, and no other byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arena import WHOLE, allowed, with_regions
from networks import residual

import mcutrain
from mcutrain.build import Build
from mcutrain.manifest import Precision

ARENA = WHOLE["arena"]


def check(build: Build) -> None:
    rng = np.random.default_rng(5)
    with Build(build.directory, with_regions(build.manifest)).session() as session:
        device = session.executor
        device.write({ARENA: rng.integers(-(2**31), 2**31, build.manifest.arena_size // 4).astype(np.int32)})
        entry = build.manifest.tensor("input")
        device.write({"input": rng.normal(size=entry.shape).astype("f2" if entry.dtype == "f16" else "f4")})
        device.write({"label": np.zeros(1, np.int32)})
        before = device.read([ARENA])[ARENA].view(np.uint8)
        for program in ("infer", "train_step", "zero_gradients", "apply", "statistics"):
            for number, mask in enumerate(allowed(build, program)):
                device.run(program, calls=(number, number + 1))
                after = device.read([ARENA])[ARENA].view(np.uint8)
                stray = np.flatnonzero((before != after) & ~mask)
                call = build.manifest.program(program).calls[number]
                where = f"{program}, call {number} ({call.op} {call.node})"
                assert not stray.size, f"{where}: bytes {stray[:8]} changed"
                before = after


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("guard", [0, 32])
def test_no_call_writes_outside_its_outputs(precision: Precision, guard: int) -> None:
    """A residual CNN whose every size is odd or prime."""
    check(mcutrain.compile(residual(), precision=precision, loss="cross-entropy", momentum=True, guard=guard))


@pytest.mark.data
@pytest.mark.parametrize("name", ["dscnn_kws", "resnet8_ic"])
def test_no_call_of_a_real_model_writes_outside_its_outputs(mlperf_tiny: Path, name: str) -> None:
    check(mcutrain.compile(mlperf_tiny / f"{name}.onnx", precision="mixed", loss="cross-entropy", guard=16))
