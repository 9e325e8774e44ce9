"""Tuning: the quickest tile that was measured is kept, and what was measured is not measured again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import model, node, normal

import mcutrain
from mcutrain.compiler.pipeline import lower
from mcutrain.errors import OptionError
from mcutrain.manifest import Options, TileChoice
from mcutrain.tile_file import read_tiles
from mcutrain.tuning import Counter, tune

OPTIONS = Options(target="qemu-xpulp", precision="mixed", loss="cross-entropy")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two convolutions of one shape, a third of another, a dense layer."""
    made = model(
        [1, 8, 8, 8],
        [
            node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b w2", "c", pads=[1, 1, 1, 1]),
            node("Conv", "c w3", "d", strides=[2, 2], pads=[0, 0, 1, 1]),
            node("GlobalAveragePool", "d", "e"),
            node("Flatten", "e", "f"),
            node("Gemm", "f w4", "y", transB=1),
        ],
        {
            **{f"w{i}": normal(8, 8, 3, 3, seed=i) for i in (1, 2)},
            "w3": normal(12, 8, 3, 3),
            "w4": normal(4, 12),
        },
    )
    onnx.save(made, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


class Fake:
    """Measures by a rule: tiles of few rows are quick. Stops after ``patience`` calls."""

    def __init__(self, manifest: object, patience: int = 1000) -> None:
        self.calls = manifest.program("train_step").calls  # type: ignore[attr-defined]
        self.patience = patience
        self.counted: list[tuple[str, int, int]] = []

    @contextmanager
    def __call__(self, choices: tuple[TileChoice, ...]) -> Iterator[Counter]:
        tiles = {choice.layer: choice for choice in choices}

        def count(call: int) -> int:
            if len(self.counted) == self.patience:
                raise KeyboardInterrupt
            choice = tiles[self.calls[call].node]
            self.counted.append((choice.layer, choice.rows, choice.columns))
            return 1000 * choice.rows + choice.columns

        yield count


def test_the_quickest_is_kept(path: Path, tmp_path: Path) -> None:
    fake, out = Fake(lower(path, OPTIONS).manifest), tmp_path / "tiles.toml"
    told: list[tuple[int, int, str]] = []
    tuned = tune(path, OPTIONS, out, measure=fake, progress=lambda *step: told.append(step))
    assert len(fake.counted) == len(set(fake.counted)) == len(told)
    assert told[-1][0] + 1 == told[-1][1] == len(told)
    file = read_tiles(out)
    for group in tuned:
        for layer in group.layers:
            assert file.tiles[layer] == group.best == min(file.measured[layer], key=file.measured[layer].get)
            assert len(file.measured[layer]) <= 3
        assert group.cycles <= group.cycles_before
    assert any(group.best != group.before for group in tuned)
    # calls of one shape are measured once, and all of them have the tile
    (shared,) = (group for group in tuned if "conv2.weight_gradient" in group.layers)
    assert shared.layers == ("conv2.weight_gradient", "conv1.weight_gradient")
    assert not any(layer == "conv1.weight_gradient" for layer, _, _ in fake.counted)
    used = lower(path, replace(OPTIONS, tiles=file.choices())).manifest
    for call in used.program("train_step").calls:
        if call.node in file.tiles:
            assert call.tile is not None
            assert (call.tile.rows, call.tile.columns) == file.tiles[call.node]
            assert call.tile.asked


@pytest.mark.parametrize("patience", [1, 7])
def test_it_goes_on_where_it_was_stopped(path: Path, tmp_path: Path, patience: int) -> None:
    manifest = lower(path, OPTIONS).manifest
    whole, broken, rest = Fake(manifest), Fake(manifest, patience), Fake(manifest)
    expected = tune(path, OPTIONS, tmp_path / "whole.toml", measure=whole)
    with pytest.raises(KeyboardInterrupt):
        tune(path, OPTIONS, tmp_path / "tiles.toml", measure=broken)
    assert sum(map(len, read_tiles(tmp_path / "tiles.toml").measured.values())) >= patience
    assert tune(path, OPTIONS, tmp_path / "tiles.toml", measure=rest) == expected
    assert broken.counted + rest.counted == whole.counted
    assert read_tiles(tmp_path / "tiles.toml") == read_tiles(tmp_path / "whole.toml")
    again = Fake(manifest)
    assert tune(path, OPTIONS, tmp_path / "tiles.toml", measure=again) == expected
    assert not again.counted


def test_what_cannot_be_tuned(path: Path, tmp_path: Path) -> None:
    out, fake = tmp_path / "tiles.toml", Fake(lower(path, OPTIONS).manifest)
    with pytest.raises(OptionError, match="'qemu' has no scratch-pad"):
        tune(path, replace(OPTIONS, target="qemu"), out, measure=fake)
    with pytest.raises(OptionError, match="starts from the compiler's own"):
        tune(path, replace(OPTIONS, tiles=(TileChoice("conv1", 1, 4),)), out, measure=fake)
    assert not out.exists()
    tune(path, OPTIONS, out, candidates=1, measure=fake)
    before = out.read_bytes()
    with pytest.raises(OptionError, match="of another build"):
        tune(path, replace(OPTIONS, workers=4), out, measure=fake)
    assert out.read_bytes() == before


@pytest.mark.qemu
def test_qemu_has_no_cycles(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not count cycles"):
        tune(path, OPTIONS, tmp_path / "tiles.toml", candidates=1)


@pytest.mark.gvsoc
def test_on_gvsoc(path: Path, tmp_path: Path) -> None:
    """Measured cycles are near those expected, and a build with the tuned tiles has the reference's bits."""
    options, out = replace(OPTIONS, target="gvsoc"), tmp_path / "tiles.toml"
    tuned = tune(path, options, out, candidates=2)
    assert all(0 < group.cycles <= group.cycles_before < 1_000_000 for group in tuned)
    build = mcutrain.compile(
        path, target="gvsoc", precision="mixed", loss="cross-entropy", tiles=read_tiles(out).choices()
    )
    x = np.random.default_rng(3).normal(size=(1, 8, 8, 8)).astype(np.float32)
    with build.session() as device, build.reference() as reference:
        for learner in (device, reference):
            learner.train(x, np.array([1]), lr=0.01, epochs=1, batch=1)
        got, expected = device.weights(), reference.weights()
    assert all(np.array_equal(got[n].view(np.uint32), expected[n].view(np.uint32)) for n in expected)
