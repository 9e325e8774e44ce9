"""Verification finds the first wrong bit and is not fooled by NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcutrain.compiler.pipeline import lower
from mcutrain.errors import DataError
from mcutrain.executor import Array
from mcutrain.manifest import UNLEARNING, Manifest, Options
from mcutrain.reference import Reference
from mcutrain.verification import ONCE, STEP, Report, make_batches, verify
from mcutrain.verification_walk import unlearning_walk


class Faulty(Reference):
    """A reference whose call number ``call`` of ``program`` spoils element ``index`` of what it writes."""

    program, call, index = "", -1, 0
    spoil: float | None = None

    def run(
        self,
        program: str,
        inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        got = super().run(program, inputs, outputs, calls)
        if program == self.program and calls == (self.call, self.call + 1):
            for name in outputs:
                flat = got[name].reshape(-1)
                if self.spoil is None:
                    flat.view(f"u{flat.itemsize}")[self.index] ^= 1
                else:
                    flat[self.index] = self.spoil
                self._values[name] = got[name].copy()
        return got


@pytest.fixture(scope="module")
def lowered(dense_model: Path) -> tuple[list[object], Manifest]:
    made = lower(dense_model, Options(precision="mixed", loss="cross-entropy"))
    return [program.graph for program in made.plan.programs], made.manifest


def compare(
    lowered: tuple[list[object], Manifest], device: Faulty, reference: Reference | None = None, steps: int = 2
) -> Report:
    graphs, manifest = lowered
    rng = np.random.default_rng(0)
    batches = make_batches(manifest, rng.normal(size=(3, 64)).astype(np.float32), np.array([1, 9, 4]), steps)
    return verify(device, reference or Reference(graphs), manifest, batches)  # type: ignore[arg-type]


def test_two_references_agree_on_every_tensor(lowered: tuple[list[object], Manifest]) -> None:
    device = Faulty(lowered[0])  # type: ignore[arg-type]
    before = device.read(["dense1.weight"])["dense1.weight"]
    report = compare(lowered, device)
    assert report.equal
    assert report.steps == 2
    calls = {program.name: len(program.calls) for program in lowered[1].programs}
    assert report.calls == 2 * sum(calls.values()) - calls["infer"] - calls["evaluate"]
    assert report.rules == {"pair-f32"}
    assert np.array_equal(device.read(["dense1.weight"])["dense1.weight"], before), (
        "weights were not put back"
    )


def test_one_flipped_bit_is_found_where_it_is(lowered: tuple[list[object], Manifest]) -> None:
    device = Faulty(lowered[0])  # type: ignore[arg-type]
    device.program, device.call, device.index = "train_step", 1, 3
    report = compare(lowered, device)
    assert not report.equal
    difference = report.difference
    assert difference is not None
    call = lowered[1].program("train_step").calls[1]
    assert (difference.step, difference.program, difference.call) == (1, "train_step", 1)
    assert difference.tensor in call.outputs
    assert (difference.count, difference.nan) == (1, False)
    assert int(difference.device_bits, 16) ^ int(difference.reference_bits, 16) == 1
    assert difference.tensor in str(difference)
    assert f"0x{difference.device_bits}" in str(difference)


def test_the_sign_of_zero_is_a_difference(lowered: tuple[list[object], Manifest]) -> None:
    device = Faulty(lowered[0])  # type: ignore[arg-type]
    device.program, device.call, device.spoil = "zero_gradients", 0, -0.0
    difference = compare(lowered, device).difference
    assert difference is not None
    assert (difference.program, difference.device_bits) == ("zero_gradients", "80000000")


def test_nan_on_both_sides_fails(lowered: tuple[list[object], Manifest]) -> None:
    sides = []
    for _ in range(2):
        side = Faulty(lowered[0])  # type: ignore[arg-type]
        side.program, side.call, side.spoil = "infer", 0, float("nan")
        sides.append(side)
    difference = compare(lowered, sides[0], sides[1]).difference
    assert difference is not None
    assert difference.nan
    assert "NaN on both sides" in str(difference)


def test_nan_in_a_step_that_both_sides_skip_is_counted(lowered: tuple[list[object], Manifest]) -> None:
    """The gradients overflow on both sides: loss scaling skips the step, and that is no difference."""
    step = next(i for i, c in enumerate(lowered[1].program("train_step").calls) if c.op == "BiasGradient")
    sides = []
    for _ in range(2):
        side = Faulty(lowered[0])  # type: ignore[arg-type]
        side.program, side.call, side.spoil = "train_step", step, float("nan")
        sides.append(side)
    report = compare(lowered, sides[0], sides[1])
    assert report.equal
    assert report.skipped == 2


def test_nan_weights_fail_though_both_sides_skip_the_step(lowered: tuple[list[object], Manifest]) -> None:
    device = Faulty(lowered[0])  # type: ignore[arg-type]
    weight = device.read(["dense1.weight"])["dense1.weight"]
    device.write({"dense1.weight": np.full_like(weight, np.nan)})
    difference = compare(lowered, device).difference
    assert difference is not None
    assert difference.nan


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_every_program_of_unlearning_is_walked(dense_model: Path, loss: Any, precision: Any) -> None:
    """Whatever Program a build has is compared, and a bit of its results is not overlooked."""
    options = Options(precision=precision, loss=loss, unlearn=UNLEARNING, momentum=True)
    made = lower(dense_model, options)
    graphs, manifest = [program.graph for program in made.plan.programs], made.manifest
    rng = np.random.default_rng(0)
    y = np.array([1, 9, 4]) if loss == "cross-entropy" else rng.normal(size=(3, 10)).astype(np.float32)
    batches = make_batches(manifest, rng.normal(size=(3, 64)).astype(np.float32), y, 2)

    def run(device: Reference) -> Report:
        return verify(device, Reference(graphs), manifest, batches)

    device = Faulty(graphs)
    names = [t.name for t in manifest.tensors if t.kind in ("parameter", "state")]
    before = device.read(names)
    report = run(device)
    assert report.equal, report.difference
    walked = {*ONCE, *STEP, *report.unlearning}
    assert walked == {program.name for program in manifest.programs}
    assert all(np.array_equal(before[name], array) for name, array in device.read(names).items())
    for name in report.unlearning:
        faulty = Faulty(graphs)
        faulty.program, faulty.call = name, len(manifest.program(name).calls) - 1
        difference = run(faulty).difference
        assert difference is not None, name
        assert (difference.program, difference.call) == (name, faulty.call)


def test_programs_of_unlearning_have_something_to_do(dense_model: Path) -> None:
    """Some weights are selected, dampened, masked, pruned, and some not; the head is solved."""
    made = lower(dense_model, Options(precision="mixed", loss="cross-entropy", unlearn=UNLEARNING))
    graphs, manifest = [program.graph for program in made.plan.programs], made.manifest
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64)).astype(np.float32), np.array([1, 9])
    batches = make_batches(manifest, x, y, 2)
    executor = Reference(graphs)
    executor.write({"head.scale": np.array([8, 0.125], np.float32)})
    hyper = np.array([0.1, 0, 0, 1], np.float32)
    total = sum(int(np.prod(t.shape)) for t in manifest.trained())
    seen: dict[str, list[int]] = {}
    for name, inputs in unlearning_walk(manifest, batches, hyper, executor):
        program = manifest.program(name)
        was = executor.read(["dense1.weight.gradient"])["dense1.weight.gradient"]
        got = executor.run(name, inputs, program.outputs)
        for output in ("selected", "solved", "admitted"):
            if output in got:
                seen.setdefault(f"{name}.{output}", []).append(int(got[output][0]))
        if name == "project_gradient":
            now = executor.read(["dense1.weight.gradient"])["dense1.weight.gradient"]
            assert not np.array_equal(was, now)
    for name in ("dampen.selected", "select_mask.selected", "prune.selected"):
        assert all(0 < count < total for count in seen[name]), (name, seen[name])
    assert seen["head_solve.solved"] == [1]
    assert seen["gram_learn.admitted"] == [1, 1]


def test_no_samples_are_no_verification(lowered: tuple[list[object], Manifest]) -> None:
    with pytest.raises(DataError, match="no samples"):
        make_batches(lowered[1], np.zeros((0, 64), np.float32), np.zeros(0, np.int32), 1)
    assert not Report().equal
