"""Every kernel call of a training step changes its outputs and workspace in the arena, and no other byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx_models import model, node, normal

import mcutrain
from mcutrain.build import Build
from mcutrain.compiler.passes.memory import VIEWS
from mcutrain.compiler.pipeline import lower
from mcutrain.manifest import Manifest, Precision, TensorEntry
from mcutrain.ops import op_for

ARENA = "the whole arena"


def with_arena(manifest: Manifest) -> Manifest:
    """The manifest with one more tensor: everything in region ``arena``."""
    size = manifest.arena_size
    whole = TensorEntry(ARENA, "i32", (size // 4,), "state", "arena", 0, size)
    return replace(manifest, tensors=(*manifest.tensors, whole))


def allowed(build: Build, program: str) -> list[np.ndarray]:
    """For each kernel call the mask of arena bytes that it may change."""
    manifest = build.manifest
    lowered = lower(build.model_path, manifest.options, name=manifest.name)
    placed = next(p for p in lowered.plan.programs if p.name == program)
    nodes = [(i, n) for i, n in enumerate(placed.graph.nodes) if n.op not in VIEWS]
    masks = []
    for call, (index, lowered_node) in zip(manifest.program(program).calls, nodes, strict=True):
        assert call.outputs == lowered_node.outputs
        mask = np.zeros(manifest.arena_size, bool)
        for name in call.outputs:
            entry = manifest.tensor(name, program)
            if entry.region == "arena":
                mask[entry.offset : entry.offset + entry.nbytes] = True
        workspace = placed.placements.get(f"workspace:{index}")
        if workspace is not None:
            stride = op_for(lowered_node.op).workspace(
                lowered_node,
                placed.graph.input_tensors(lowered_node),
                placed.graph.output_tensors(lowered_node),
            )
            mask[workspace.offset : workspace.offset + stride * manifest.options.workers] = True
        masks.append(mask)
    return masks


def check(build: Build) -> None:
    rng = np.random.default_rng(5)
    with Build(build.directory, with_arena(build.manifest)).session() as session:
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
    small = model(
        [1, 3, 13, 11],
        [
            node("Conv", "x w1 b1", "a", strides=[2, 2], pads=[1, 0, 2, 1]),
            node("LeakyRelu", "a", "b"),
            node("Conv", "b w2 b2", "c", group=5, pads=[1, 1, 1, 1]),
            node("Add", "b c", "d"),
            node("MaxPool", "d", "e", kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1]),
            node("Conv", "e w3 b3", "f"),
            node("Relu", "f", "g"),
            node("GlobalAveragePool", "g", "h"),
            node("Flatten", "h", "i"),
            node("Gemm", "i w4 b4", "y", transB=1),
        ],
        {
            **{
                "w1": normal(5, 3, 3, 3),
                "w2": normal(5, 1, 3, 3),
                "w3": normal(7, 5, 1, 1),
                "w4": normal(3, 7),
            },
            **{"b1": normal(5), "b2": normal(5), "b3": normal(7), "b4": normal(3)},
        },
    )
    check(mcutrain.compile(small, precision=precision, loss="cross-entropy", momentum=True, guard=guard))


@pytest.mark.data
@pytest.mark.parametrize("name", ["dscnn_kws", "resnet8_ic"])
def test_no_call_of_a_real_model_writes_outside_its_outputs(mlperf_tiny: Path, name: str) -> None:
    check(mcutrain.compile(mlperf_tiny / f"{name}.onnx", precision="mixed", loss="cross-entropy", guard=16))
