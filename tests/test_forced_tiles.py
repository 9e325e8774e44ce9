"""Whole training steps in tiles forced small, odd and one row high: the bits stay, whatever the tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import model, node, normal

import mcutrain
from mcutrain.compiler import tiles
from mcutrain.compiler.passes.tiling import tiled_calls
from mcutrain.compiler.pipeline import lower
from mcutrain.manifest import Options, TileChoice
from mcutrain.verification import make_batches, verify

TARGETS = [
    pytest.param("qemu-xpulp", marks=pytest.mark.qemu),
    pytest.param("gvsoc", marks=[pytest.mark.gvsoc, pytest.mark.slow]),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """[1, 3, 13, 12] to 4 classes: convolutions of stride 1 and 2, depthwise, pointwise, dense."""
    made = model(
        [1, 3, 13, 12],
        [
            node("Conv", "x w1 b1", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b w2", "c", strides=[2, 2], pads=[0, 0, 1, 1]),
            node("Conv", "c w3", "d", group=12, pads=[1, 1, 1, 1]),
            node("Relu", "d", "e"),
            node("Conv", "e w4 b4", "f"),
            node("GlobalAveragePool", "f", "g"),
            node("Flatten", "g", "h"),
            node("Gemm", "h w5", "y", transB=1),
        ],
        {
            **{"w1": normal(8, 3, 3, 3) / 5, "b1": normal(8), "w2": normal(12, 8, 3, 3) / 8},
            **{"w3": normal(12, 1, 3, 3) / 3, "w4": normal(20, 12, 1, 1) / 4, "b4": normal(20)},
            **{"w5": normal(4, 20)},
        },
    )
    file = tmp_path_factory.mktemp("forced") / "net.onnx"
    onnx.save(made, file)
    return file


def choices(path: Path, options: Options, kind: str) -> tuple[TileChoice, ...]:
    """For every call in tiles: those that take the least of L1, or odd ones."""
    found = {}
    for program in lower(path, options).plan.programs:
        for _, made, call in tiled_calls(program):
            if tiles.takes(call):
                known = tiles.tilings(call, options.workers)
                least = min(known, key=lambda t: t.l1)
                odd = tiles.tiling(call, 3, max(4, least.columns // 2), options.workers)
                chosen = {"least": least, "odd": odd}[kind]
                found[made.name] = TileChoice(made.name, chosen.rows, chosen.columns)
    return tuple(found.values())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["least", "odd"])
def test_bits_stay(path: Path, kind: str, target: str) -> None:
    options = Options(target=target, precision="mixed", loss="cross-entropy")
    asked = choices(path, options, kind)
    own = lower(path, options).manifest.program("train_step").calls
    forced = lower(path, replace(options, tiles=asked)).manifest.program("train_step").calls
    differ = [
        a.node for a, b in zip(own, forced, strict=True) if a.tile and b.tile and a.tile.l1 != b.tile.l1
    ]
    assert len(differ) >= 6, "these tiles are the compiler's own"
    build = mcutrain.compile(
        path, target=target, precision="mixed", loss="cross-entropy", tiles=asked, guard=64
    )
    x = np.random.default_rng(5).normal(size=(2, 3, 13, 12)).astype(np.float32)
    batches = make_batches(build.manifest, x, np.array([1, 3]), 2)
    with build.session() as device, build.reference() as reference:
        report = verify(
            device.executor, reference.executor, build.manifest, batches, lr=0.05, weight_decay=0.01
        )
    assert report.equal, report.difference
    assert report.steps == 2
