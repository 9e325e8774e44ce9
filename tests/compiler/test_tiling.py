"""The tiling pass: the quickest tile that fits, tiles as asked for, and those that do not fit refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import NETWORKS
from onnx_models import model, node, normal

from mcutrain.compiler import tiles
from mcutrain.compiler.passes.tiling import fitting, tiled_calls
from mcutrain.compiler.pipeline import lower
from mcutrain.errors import MemoryLimitError, OptionError
from mcutrain.manifest import Options, TileChoice
from mcutrain.ops.base import KernelCall
from mcutrain.targets import find_target

OPTIONS = Options(target="qemu-xpulp", precision="mixed", loss="cross-entropy")
#: names of the first convolution's three calls
CALLS = ("conv1", "conv2.weight_gradient", "conv2.input_gradient")


def convolutions():  # type: ignore[no-untyped-def]
    """[1, 16, 24, 24] to 16 classes by two convolutions that do not fit L1 whole."""
    return model(
        [1, 16, 24, 24],
        [
            node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b w2", "c", pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", "c", "d"),
            node("Flatten", "d", "y"),
        ],
        {"w1": normal(32, 16, 3, 3), "w2": normal(16, 32, 3, 3)},
    )


def usable() -> int:
    fast = find_target(OPTIONS.target).fast_memory
    assert fast is not None
    return fast.usable


@pytest.mark.parametrize("network", NETWORKS)
def test_every_choice_fits(network: str) -> None:
    make, loss, _ = NETWORKS[network]
    manifest = lower(make(), replace(OPTIONS, loss=loss)).manifest  # type: ignore[arg-type]
    entries = [call.tile for program in manifest.programs for call in program.calls if call.tile]
    assert entries
    for entry in entries:
        assert entry.l1 <= usable()
        assert not entry.asked
        assert entry.rows == 0 or entry.cycles >= max(entry.compute, 1)


def test_the_quickest_that_fits_is_chosen() -> None:
    lowered = lower(convolutions(), OPTIONS)
    (step,) = (program for program in lowered.plan.programs if program.name == "train_step")
    fast = find_target(OPTIONS.target).fast_memory
    assert fast is not None
    chosen = 0
    for _, made, call in tiled_calls(step):
        known = tiles.tilings(call, OPTIONS.workers) if tiles.takes(call) else ()
        fit = [t for t in known if t.l1 <= fast.usable]
        assert fit == fitting(call, fast, OPTIONS.workers)
        if made.name in CALLS:
            assert len(fit) < len(known), "this shape does not test the limit"
            assert made.attrs["tile"] == (fit[0].rows, fit[0].columns)
            chosen += 1
    assert chosen == len(CALLS)


def test_targets_without_a_scratch_pad_have_no_tiles() -> None:
    options = replace(OPTIONS, target="qemu")
    manifest = lower(convolutions(), options).manifest
    assert all(call.tile is None for program in manifest.programs for call in program.calls)
    with pytest.raises(OptionError, match="'qemu' has no scratch-pad"):
        lower(convolutions(), replace(options, tiles=(TileChoice("conv1", 1, 4),)))


@pytest.mark.parametrize("layer", CALLS)
@pytest.mark.parametrize("tile", [(1, 4), (3, 8), (1, 0), (0, 4)])
def test_tiles_as_asked_for(layer: str, tile: tuple[int, int]) -> None:
    manifest = lower(convolutions(), replace(OPTIONS, tiles=(TileChoice(layer, *tile),))).manifest
    entries = {call.node: call.tile for call in manifest.program("train_step").calls if call.tile}
    entry = entries[layer]
    assert entry.asked
    assert not any(other.asked for name, other in entries.items() if name != layer)
    assert tile[0] in (0, entry.rows)
    assert min(tile[1], 4) in (0, min(entry.columns, 4))


@pytest.mark.parametrize("layer", CALLS)
def test_tiles_that_do_not_fit_are_refused(layer: str) -> None:
    options = replace(OPTIONS, tiles=(TileChoice(layer, 24, 32),))
    with pytest.raises(
        MemoryLimitError, match=rf"'{layer}'.* needs \d+ bytes .*has {usable()} in L1"
    ) as caught:
        lower(convolutions(), options)
    assert "rows and" in caught.value.remedy
    assert "fit" in caught.value.remedy


def test_mistakes_are_named() -> None:
    def ask(*choices: TileChoice) -> Options:
        return replace(OPTIONS, tiles=choices)

    with pytest.raises(OptionError, match=r"no 'conv9' with tiles to choose — there are conv1, conv2"):
        lower(convolutions(), ask(TileChoice("conv9", 1, 4)))
    with pytest.raises(OptionError, match="'conv1' has 0 rows and 0 columns"):
        lower(convolutions(), ask(TileChoice("conv1")))
    with pytest.raises(OptionError, match="named twice"):
        lower(convolutions(), ask(TileChoice("conv1", 1, 4), TileChoice("conv1", 2, 4)))


def test_a_shape_that_is_not_taken_in_tiles() -> None:
    small = model([1, 8, 3, 3], [node("Conv", "x w", "y", pads=[1, 1, 1, 1])], {"w": normal(8, 8, 3, 3)})
    options = replace(OPTIONS, loss=None)
    manifest = lower(small, options).manifest
    (entry,) = (call.tile for call in manifest.program("infer").calls if call.tile)
    assert (entry.rows, entry.l1, entry.cycles) == (0, 0, 0)
    with pytest.raises(OptionError, match="does not take in tiles"):
        lower(small, replace(options, tiles=(TileChoice("conv1", 1, 4),)))


def test_cost_follows_the_shape() -> None:
    """More workers, fewer cycles; a larger reduction, more; never quicker than the floating-point units."""

    def call(depth: int) -> KernelCall:
        fields = {"batch": 1, "rows": 64, "columns": 64, "depth": depth, "activation": 0}
        return KernelCall("dense", "f16", fields)

    cycles = {workers: tiles.tilings(call(64), workers)[0].cycles for workers in (1, 2, 4, 8)}
    assert cycles[1] > cycles[2] > cycles[4] > cycles[8]
    assert tiles.tilings(call(128), 8)[0].cycles > cycles[8] >= 64 * 64 * 64 / 8
