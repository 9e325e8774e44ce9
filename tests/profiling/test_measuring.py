"""Profiles of whole Programs on devices, and the command line on top."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import separable
from onnx_models import model, node, normal

import mcutrain
from mcutrain.build import Build
from mcutrain.cli.main import main
from mcutrain.device.session import Session
from mcutrain.errors import BuildError
from mcutrain.manifest import Manifest
from mcutrain.profiling import STEP, Profile, generated_inputs, profile, programs_of


def check(measured: Profile, manifest: Manifest, workers: int) -> None:
    """What every profile must fulfil."""
    for program in measured.programs:
        entry = manifest.program(program.name)
        for run in program.runs:
            assert [call.number for call in run] == list(range(len(entry.calls)))
            assert [call.macs for call in run] == [call.macs for call in entry.calls]
            assert all(len(call.counts.workers) == workers for call in run)
            assert sum(call.duration for call in run) <= 1.001 * program.duration_counted * len(program.runs)
        assert program.duration > 0
        assert program.between >= 0
    rows = measured.rows()
    assert sum(row.macs for row in rows) == measured.macs == sum(p.macs for p in measured.programs)
    assert sum(row.calls for row in rows) == sum(len(p.runs[0]) for p in measured.programs)


def two_layers() -> onnx.ModelProto:
    """[1, 33] to 9 values by dense layers."""
    return model(
        [1, 33],
        [
            node("Gemm", "x w1 b1", "a", transB=1),
            node("Relu", "a", "b"),
            node("Gemm", "b w2 b2", "y", transB=1),
        ],
        {"w1": normal(21, 33), "b1": normal(21), "w2": normal(9, 21), "b2": normal(9)},
    )


def session_of(build: Build, **options: Any) -> Session:
    learner = build.session(**options)
    assert isinstance(learner.executor, Session)
    return learner.executor


@pytest.mark.parametrize("runs", [1, 2])
def test_a_step(dense_build: Path, runs: int) -> None:
    build = Build.open(dense_build)
    with session_of(build, workers=3) as session:
        names = [t.name for t in build.manifest.tensors if t.kind in ("parameter", "state")]
        before = session.read(names)
        seen: list[tuple[str, int, int]] = []
        measured = profile(session, runs=runs, on_run=lambda *run: seen.append(run))
        after = session.read(names)
    check(measured, build.manifest, 3)
    assert [program.name for program in measured.programs] == list(STEP)
    assert [len(program.runs) for program in measured.programs] == [runs] * len(STEP)
    assert measured.macs == sum(layer.macs_forward + layer.macs_backward for layer in build.manifest.layers)
    assert measured.unit == "ns"
    assert "not a measure of the hardware" in measured.meaning
    assert len(seen) == len(STEP) * (2 * runs + 1)
    for name in names:
        np.testing.assert_array_equal(after[name].view(np.uint8), before[name].view(np.uint8))


def test_gradients_flow_from_generated_samples(dense_build: Path) -> None:
    build = Build.open(dense_build)
    inputs = generated_inputs(build.manifest, STEP)
    with session_of(build) as session:
        session.run("zero_gradients")
        session.run(
            "train_step", {name: inputs[name] for name in build.manifest.program("train_step").inputs}
        )
        for tensor in build.manifest.trained():
            assert np.any(session.read([f"{tensor.name}.gradient"])[f"{tensor.name}.gradient"])


@pytest.mark.parametrize("program", ["infer", "evaluate", "train_step", "apply", "statistics"])
def test_a_single_program(dense_build: Path, program: str) -> None:
    build = Build.open(dense_build)
    with session_of(build) as session:
        measured = profile(session, program)
    check(measured, build.manifest, 8)
    assert [p.name for p in measured.programs] == [program]


def test_unknown_programs(dense_manifest: Manifest) -> None:
    with pytest.raises(BuildError, match="has no Program 'train'"):
        programs_of(dense_manifest, "train")


def test_immediate_updates_are_one_program() -> None:
    build = mcutrain.compile(two_layers(), loss="mse", immediate=True)
    with session_of(build) as session:
        measured = profile(session)
    check(measured, build.manifest, 8)
    assert [program.name for program in measured.programs] == ["train_step"]
    assert "weight gradient, update" in {row.direction for row in measured.rows()}


@pytest.mark.qemu
def test_qemu_with_the_tiled_kernels() -> None:
    build = mcutrain.compile(separable(), target="qemu-xpulp", precision="mixed", loss="cross-entropy")
    with session_of(build) as session:
        measured = profile(session)
    check(measured, build.manifest, 8)


@pytest.mark.gvsoc
@pytest.mark.parametrize("workers", [8, 1])
def test_gvsoc_counts_cycles(workers: int) -> None:
    build = mcutrain.compile(separable(), target="gvsoc", precision="mixed", loss="cross-entropy")
    with session_of(build, workers=workers) as session:
        measured = profile(session, runs=2)
    check(measured, build.manifest, workers)
    assert measured.unit == "cycles"
    # counting every call makes a Program slower, but not by much
    for program in measured.programs:
        assert program.duration <= program.duration_counted <= 1.5 * program.duration
    for program in measured.programs:
        for call in program.runs[-1]:
            assert call.counts.transfers is not None
            assert 0 <= call.counts.transfers <= call.duration
            for worker in call.counts.workers:
                assert call.counts.begin <= worker["begin"] <= worker["end"] <= call.counts.end
                took = worker["end"] - worker["begin"]
                assert 0 < worker["instructions"] <= took
                for name in ("barrier", "dma_wait", "load_stalls", "fetch_stalls", "fpu_stalls"):
                    assert 0 <= worker[name] <= took
    rows = measured.rows()
    for name in ("instructions", "dma_wait", "fetch_stalls", "transfers"):
        assert sum(getattr(row, name) for row in rows) > 0, f"nothing counts {name}"
    # one worker waits for nobody
    assert (sum(row.barrier or 0 for row in rows) > 0) == (workers > 1)
    assert sum(row.fpu_stalls or 0 for row in rows) > 0


def test_the_command(dense_build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, picture = tmp_path / "profile.json", tmp_path / "profile.svg"
    arguments = ["profile", str(dense_build), "--data", "digits", "--runs", "2", "--workers", "2"]
    assert main([*arguments, "--json", str(document), "--svg", str(picture)]) == 0
    text = capsys.readouterr().out
    manifest = Manifest.read(dense_build)
    for words in ("weight gradient", "input gradient", "update", "whole step", "MAC/ns", "not a measure"):
        assert words in text
    for layer in manifest.layers:
        if layer.parameters:
            assert layer.name in text
    found = json.loads(document.read_text())
    assert found["workers"] == 2
    assert found["build_id"] == manifest.build_id
    assert [p["name"] for p in found["programs"]] == list(STEP)
    assert [len(p["calls"]) for p in found["programs"]] == [len(manifest.program(n).calls) for n in STEP]
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_the_longest_rows(dense_build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(dense_build), "--program", "train_step", "--top", "2"]) == 0
    listing = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(listing) == 3


def test_a_build_that_only_infers(
    dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "infers"
    mcutrain.compile(dense_model, target="native", out=out)
    assert main(["profile", str(out), "--data", "digits"]) == 0
    assert "infer" in capsys.readouterr().out
    assert main(["profile", str(out), "--program", "train_step"]) == 2
    assert "compile with --loss" in capsys.readouterr().err


def test_errors_come_before_the_device_is_started(
    dense_build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Build, "session", lambda *arguments, **options: pytest.fail("it was started"))
    assert main(["profile", str(dense_build), "--program", "nonsense"]) == 2
    assert "has no Program 'nonsense'" in capsys.readouterr().err
    assert main(["profile", str(dense_build), "--svg", str(tmp_path / "no" / "p.svg")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert main(["profile", str(dense_build), "--json", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
