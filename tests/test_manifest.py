"""The manifest: a round trip keeps everything, and every kind of damage is noticed and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcutrain.errors import BuildError, OptionError
from mcutrain.ir import LayoutStep, Origin
from mcutrain.manifest import (
    CallEntry,
    LayerEntry,
    Manifest,
    MemoryEntry,
    Options,
    ProgramEntry,
    TensorEntry,
)

ORIGIN = Origin("fc.w", (4, 3), (LayoutStep("transpose", (1, 0)),))
SAMPLE = Manifest(
    name="sample",
    options=Options(loss="mse", train=("fc*",)),
    tensors=(
        TensorEntry("input", "f32", (1, 4), "input", "arena", 0, 16),
        TensorEntry("fc.weight", "f32", (3, 4), "parameter", "data", 0, 48, ORIGIN, trained=True),
    ),
    programs=(
        ProgramEntry(
            "infer",
            ("input",),
            ("y",),
            (CallEntry("dense_f32", "fc", "Dense", ("input", "fc.weight", ""), ("y",), "seq-f32", 12),),
            (TensorEntry("y", "f32", (1, 3), "activation", "arena", 16, 12),),
        ),
    ),
    layers=(LayerEntry("fc", "Dense", (1, 3), 12, 12, 0, False),),
    memory=MemoryEntry(48, 0, 0, 16, 16, 0, 0),
    data_size=48,
    arena_size=32,
    data_sha256="00" * 32,
).sealed()


def damaged(**changes: Any) -> str:
    return json.dumps({**json.loads(SAMPLE.to_json()), **changes})


def test_a_round_trip_keeps_everything() -> None:
    read = Manifest.from_json(SAMPLE.to_json())
    assert read == SAMPLE
    assert read.build_id == SAMPLE.build_id
    assert read.to_json() == SAMPLE.to_json()


def test_the_build_id_covers_every_field() -> None:
    assert len(SAMPLE.build_id) == 64
    assert replace(SAMPLE, name="other").sealed().build_id != SAMPLE.build_id
    assert replace(SAMPLE, data_sha256="11" * 32).sealed().build_id != SAMPLE.build_id
    options = replace(SAMPLE.options, workers=4)
    assert replace(SAMPLE, options=options).sealed().build_id != SAMPLE.build_id
    assert SAMPLE.sealed().build_id == SAMPLE.build_id


def test_tensors_are_found_where_they_live() -> None:
    assert SAMPLE.tensor("fc.weight").origin == ORIGIN
    assert SAMPLE.tensor("y", "infer").offset == 16
    for program in (None, "apply"):
        with pytest.raises(BuildError, match="no tensor 'y'"):
            SAMPLE.tensor("y", program)
    assert [t.name for t in SAMPLE.trained()] == [t.name for t in SAMPLE.parameters()] == ["fc.weight"]


def test_a_missing_program_says_how_to_get_it() -> None:
    assert SAMPLE.program("infer").outputs == ("y",)
    inference = replace(SAMPLE, options=Options(loss=None))
    with pytest.raises(BuildError, match=r"has no Program 'train_step' .*--loss"):
        inference.program("train_step")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object"),
        (damaged(format=99), "format 99"),
        (damaged(numerics=99), "numerics 99"),
        (damaged(data_size=47), "changed after the build"),
        (damaged(data_size="48"), 'data_size: expected int, found "48"'),
        (damaged(data_size=True), "data_size: expected int, found true"),
        (damaged(tensors={}), "tensors: expected a list"),
        (damaged(extra=1), "field 'extra' is unknown"),
        (damaged(memory={}), "memory: field 'available' is missing"),
        (damaged(layers=[1]), r"layers\[0\]: expected an object"),
        (SAMPLE.to_json().replace('"region": "data"', '"region": "flash"'), "expected one of data, arena"),
    ],
)
def test_damage_is_named(text: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        Manifest.from_json(text)


def test_what_is_no_build_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not a build"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BuildError, match="is not text"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text(SAMPLE.to_json())
    assert Manifest.read(tmp_path) == SAMPLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8' — choose from fp32, mixed"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'"),
        ({"workers": 0}, "workers is 0 — give 1 to 8"),
        ({"workers": 9}, "workers is 9"),
        ({"guard": 8}, "guard is 8 bytes"),
    ],
)
def test_options_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    Options().check()
    with pytest.raises(OptionError, match=message):
        replace(Options(), **changes).check()
