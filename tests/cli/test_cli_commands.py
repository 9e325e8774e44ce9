"""The verbs in the order a user meets them, on the native target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mcutrain.cli.main import cli, main


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Path:
    """A native build of the dense model that trains."""
    out = tmp_path_factory.mktemp("cli") / "dense"
    arguments = ["compile", str(dense_model), "--target", "native", "--precision", "mixed"]
    assert main([*arguments, "--loss", "cross-entropy", "--optimizer", "sgd", "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def trained(build: Path) -> Path:
    """trained.onnx after two epochs on the digits."""
    path = build / "trained.onnx"
    arguments = ["train", str(build), "--data", "digits", "--epochs", "2", "--lr", "0.05", "--batch", "4"]
    assert main([*arguments, "--out", str(path)]) == 0
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    status = main([*arguments, "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out)


def initializers(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("verb", ["", *sorted(cli.commands)])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*filter(None, [verb]), "--help"]) == 0
    assert "Usage: mcutrain" in capsys.readouterr().out


def test_the_verbs_are_those_of_the_manual() -> None:
    verbs = "certificate compile doctor eval evaluate flash infer info key profile pull push targets train"
    verbs += " tune unlearn verify"
    assert sorted(cli.commands) == verbs.split()


def test_targets_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    names = {target["name"] for target in run_json(capsys, "targets")}
    assert {"native", "qemu"} <= names
    findings = {finding["name"]: finding for finding in run_json(capsys, "doctor")}
    assert findings["C compiler"]["found"]
    assert all(finding["found"] or finding["remedy"] for finding in findings.values())
    assert main(["doctor"]) == 0
    assert main(["targets"]) == 0


def test_info_shows_layers_memory_and_programs(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "info", str(build))
    assert sum(layer["parameters"] for layer in facts["layers"]) == 64 * 12 + 12 + 12 * 10 + 10
    assert sum(layer["macs_forward"] for layer in facts["layers"]) == 64 * 12 + 12 * 10
    assert main(["info", str(build)]) == 0
    shown = capsys.readouterr().out
    assert "train_step" in shown
    assert "total" in shown


def test_tiles_are_shown_and_asked_for(
    dense_model: Path,
    build: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a build for RISC-V, which the compiler that the sanitizers bring cannot make
    for name in ("MCUTRAIN_CC", "MCUTRAIN_CFLAGS"):
        monkeypatch.delenv(name, raising=False)
    tiles, out = tmp_path / "tiles.toml", str(tmp_path / "build")
    tiles.write_text("[tiles]\ndense1 = { columns = 8 }\n")
    arguments = ["compile", str(dense_model), "--target", "qemu-xpulp", "--precision", "mixed"]
    assert main([*arguments, "--tiles", str(tiles), "-o", out]) == 0
    shown = run_json(capsys, "info", out, "--tiles")
    assert shown["l1"]["size"] == 65536
    assert {call["layer"] for call in shown["calls"]} == {"dense1", "dense2"}
    assert [call["asked"] for call in shown["calls"]] == [True, False]
    assert all(0 < call["l1"] < 65536 and call["cycles"] > 0 for call in shown["calls"])
    assert main(["info", out, "--tiles"]) == 0
    room = f"{65536 - shown['l1']['reserved']:,}".replace(",", " ")
    assert f"{room} of 65 536 bytes of L1" in capsys.readouterr().out
    assert main(["info", str(build), "--tiles"]) == 0
    assert "no scratch-pad" in capsys.readouterr().out
    tiles.write_text("[tiles]\ndense9 = { columns = 8 }\n")
    assert main([*arguments, "--tiles", str(tiles), "-o", str(tmp_path / "other")]) == 2
    assert "no 'dense9'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_train_reports_and_writes_a_model_that_is_better(
    build: Path, trained: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run_json(capsys, "eval", str(build), "--data", "digits")
    after = run_json(capsys, "eval", str(build), "--data", "digits", "--weights", str(trained))
    assert before["samples"] == after["samples"] == 359
    assert after["accuracy"] > 0.8 > before["accuracy"]
    assert after["loss"] < before["loss"]
    old, new = initializers(dense_model), initializers(trained)
    assert {n: a.shape for n, a in old.items()} == {n: a.shape for n, a in new.items()}
    assert all(not np.array_equal(old[name], new[name]) for name in old)


def test_train_as_json_tells_everything(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.onnx"
    arguments = [
        "train",
        str(build),
        "--data",
        "digits",
        "--limit",
        "40",
        "--keep",
        "last",
        "--out",
        str(out),
    ]
    told = run_json(capsys, *arguments, "--epochs", "2", "--lr", "0.01")
    assert out.is_file()
    assert told["kept_epoch"] == 2
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2]
    assert told["epochs"][1]["loss"] < told["epochs"][0]["loss"]
    assert "dense1.weight" in told["epochs"][0]["gradient_to_weight"]
    assert told["before"]["samples"] == 40


def test_the_reference_trains_to_the_same_bits(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(build), "--data", "digits", "--limit", "12", "--batch", "5", "--no-validate"]
    assert main([*arguments, "--out", str(tmp_path / "device.onnx")]) == 0
    assert main([*arguments, "--reference", "--out", str(tmp_path / "reference.onnx")]) == 0
    assert main([*arguments, "--workers", "3", "--out", str(tmp_path / "three.onnx")]) == 0
    contents = {(tmp_path / f"{name}.onnx").read_bytes() for name in ("device", "reference", "three")}
    assert len(contents) == 1


def test_infer_one_sample_and_many(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = run_json(capsys, "infer", str(build), "--data", "digits", "--index", "3")
    assert [row["sample"] for row in one] == [3]
    out = tmp_path / "outputs.npy"
    assert main(["infer", str(build), "--data", "digits", "--out", str(out)]) == 0
    assert "and 339 more" in capsys.readouterr().out
    outputs = np.load(out)
    assert outputs.shape == (359, 10)
    assert np.array_equal(outputs[3], np.array(one[0]["output"], np.float32))


def test_verify_is_equal_and_says_what_it_compared(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_json(capsys, "verify", str(build), "--data", "digits", "--steps", "2")
    assert told["equal"]
    assert told["steps"] == 2
    assert told["accumulation"] == ["pair-f32"]
    assert main(["verify", str(build), "--data", "digits"]) == 0
    assert "1 step bit-equal" in capsys.readouterr().out


def test_verify_shows_the_first_difference(
    build: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcutrain.reference import Reference

    honest = Reference.run

    def spoiled(self: Reference, program: str, *rest: Any) -> Any:
        got = honest(self, program, *rest)
        for name, array in got.items():
            if name == "loss" and program == "train_step":
                array.view(np.uint32)[0] ^= 1
        return got

    monkeypatch.setattr(Reference, "run", spoiled)
    assert main(["verify", str(build), "--data", "digits"]) == 1
    shown = capsys.readouterr().out
    assert "train_step" in shown
    assert "loss[0] is" in shown
    assert "1 of 1 elements differ" in shown


def test_pull_and_push(
    build: Path, trained: Path, dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pulled.onnx"
    assert main(["pull", str(build), "--out", str(out)]) == 0
    old, new = initializers(dense_model), initializers(out)
    assert all(np.array_equal(old[name], new[name]) for name in old)
    assert main(["push", str(build), str(trained)]) == 0
    assert "4 weights sent" in capsys.readouterr().out
