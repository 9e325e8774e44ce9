"""Logged runs, keys and certificates from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcutrain
from mcutrain.cli.main import main
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.requests import forget


@pytest.fixture
def build(dense_model: Path, tmp_path: Path) -> Path:
    mcutrain.compile(dense_model, loss="cross-entropy", out=tmp_path / "build")
    return tmp_path / "build"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 64)).astype(np.float32), np.arange(30) % 10
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    return tmp_path / "d.npz"


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    main([*arguments, "--json"])
    shown = capsys.readouterr()
    assert shown.out, shown.err
    return json.loads(shown.out)


def test_runs_continue_one_another(build: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(build), "--data", str(data), "--lr", "0.1"]
    assert main([*arguments, "--run", "one", "--snapshot-budget", "100k"]) == 0
    first = run_json(capsys, "eval", str(build), "--data", str(data))
    second = run_json(capsys, *arguments, "--run", "two")
    assert second["before"]["loss"] == first["loss"]
    assert main([*arguments, "--run", "two"]) == 2
    assert "a run 'two' already" in capsys.readouterr().err
    assert main(["verify", str(build), "--data", str(data)]) == 0
    log = json.loads((build / "state" / "log.json").read_text())
    assert [(run["name"], run["status"]) for run in log["runs"]] == [("one", "complete"), ("two", "complete")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "are for logged runs give --run"),
        (["--allow-forgotten"], "are for logged runs"),
        (["--run", ""], "no name for a run"),
        (["--run", "a", "--keep", "best"], "keeps its last epoch"),
        (["--run", "a", "--resume"], "no interrupted run 'a'"),
        (["--run", "a", "--snapshot-budget", "1"], "budget is less than one snapshot"),
        (["--run", "a", "--snapshot-budget", "lots"], "no number of bytes"),
    ],
)
def test_wrong_options(
    build: Path, data: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["train", str(build), "--data", str(data), *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (build / "trained.onnx").exists()


def test_a_state_is_not_compiled_away(
    build: Path, data: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiling = ["compile", str(dense_model), "--target", "native", "-o", str(build)]
    assert main(compiling) == 0
    assert main([*compiling, "--loss", "cross-entropy"]) == 0
    assert main(["train", str(build), "--data", str(data), "--run", "one"]) == 0
    assert main(compiling) == 2
    assert "holds what a device has learned" in " ".join(capsys.readouterr().err.split())


def test_weights_do_not_replace_a_logged_state(
    build: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(build), "--data", str(data)]
    assert main([*arguments, "--run", "one"]) == 0
    assert main([*arguments, "--run", "two", "--weights", str(build / "trained.onnx")]) == 2
    assert "--weights would replace" in capsys.readouterr().err


def test_a_key_is_set_once(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "set", str(build)]) == 2
    assert "give --key FILE, or --generate" in capsys.readouterr().err
    assert main(["key", "set", str(build), "--generate"]) == 0
    key = build / "device.key"
    assert len(bytes.fromhex(key.read_text())) == 32
    assert key.stat().st_mode & 0o077 == 0
    assert main(["key", "set", str(build), "--key", str(key)]) == 2
    assert "set already" in capsys.readouterr().err
    short = tmp_path / "short.key"
    short.write_text("00")
    assert main(["key", "set", str(build), "--reference", "--key", str(short)]) == 2
    assert "is no key" in capsys.readouterr().err


def test_certificates_are_verified_and_repeated(
    build: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "set", str(build), "--generate"]) == 0
    for name in ("one", "two"):
        assert main(["train", str(build), "--data", str(data), "--run", name, "--batch", "4"]) == 0
    opened = mcutrain.build.Build.open(build)
    with np.load(data) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    with opened.session() as learner:
        log = RunLog.open(opened, learner)
        task = Task(learner, forget=(x[3:5], y[3:5]), retain=(x, y), build=opened)
        forget(log, find_method("rollback"), task)
    path, key = build / "certificates.jsonl", build / "device.key"
    told = run_json(capsys, "certificate", "verify", str(path), "--key", str(key))
    assert (told["certificates"], told["signatures"], told["findings"]) == (1, "1 signature is right", [])
    for backend in ([], ["--reference"]):
        arguments = ["certificate", "verify", str(path), "--replay", "--data", str(data), *backend]
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert "replay equal: 56 samples trained again" in shown
        assert "not verified without --key" in shown
    assert main(["certificate", "verify", str(path), "--replay"]) == 2
    assert main(["certificate", "verify", str(path), "--device"]) == 0
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert main(["certificate", "verify", str(path)]) == 1
    assert main(["certificate", "verify", str(path), "--device"]) == 1
    assert "the file has 0 certificates, the device 1" in capsys.readouterr().err
    path.write_bytes(whole)
    listed = run_json(capsys, "certificate", "show", str(path))
    assert listed[0]["text"]["method"] == "rollback"
    assert main(["certificate", "show", str(path)]) == 0
    assert "rollback:replay" in capsys.readouterr().out
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(path.read_bytes().replace(b'"exact"', b'"exakt"'))
    assert main(["certificate", "verify", str(changed)]) == 1
    assert "its text is not the one the device has seen" in capsys.readouterr().err


def test_unlearning_a_logged_device(
    build: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly and approximately, by rows and by hashes; a second time, and what was never seen."""
    for name in ("one", "two"):
        assert main(["train", str(build), "--data", str(data), "--run", name, "--batch", "4"]) == 0
    rows = tmp_path / "rows.txt"
    rows.write_text("3\n4  # both of them\n")
    arguments = ["unlearn", str(build), "--data", str(data), "--method", "rollback", "--forget"]
    told = run_json(capsys, *arguments, str(rows), "--cost")
    assert (told["streamed"]["gradient"], told["steps"]) == (56, 16)
    assert main([*arguments, str(rows)]) == 0
    shown = capsys.readouterr().out
    assert "cost: 56 samples forward and backward" in shown
    assert "exact" in shown
    assert "certificate 1 in certificates.jsonl" in shown
    assert main([*arguments, str(rows)]) == 0
    assert "all 2 samples were forgotten already, nothing is done" in capsys.readouterr().out
    log = json.loads((build / "state" / "log.json").read_text())
    hashes = tmp_path / "hashes.txt"
    hashes.write_text(log["runs"][0]["hashes"][7] + "\n")
    with np.load(data) as arrays:
        without = {name: np.delete(a, 7, 0) if "train" in name else a for name, a in arrays.items()}
    np.savez(tmp_path / "without.npz", **without)
    arguments[3] = str(tmp_path / "without.npz")
    assert run_json(capsys, *arguments, str(hashes))["streamed"]["gradient"] == 54
    hashes.write_text("00" * 32)
    assert main([*arguments, str(hashes)]) == 2
    assert "is of no logged sample" in capsys.readouterr().err
    rows.write_text("20\n")
    arguments[5] = "sparse-finetune:cf-k"
    changed = run_json(capsys, *arguments, str(rows))
    certificates = run_json(capsys, "certificate", "show", str(build / "certificates.jsonl"))
    assert [c["text"]["method"] for c in certificates][:2] == ["rollback", "rollback"]
    assert (changed["certificate"] is not None) == changed["changed"] == (len(certificates) == 3)
    assert main(["certificate", "verify", str(build / "certificates.jsonl")]) == 0
    assert main(["train", str(build), "--data", str(data), "--run", "three"]) == 2
    assert "has forgotten 4 samples" in capsys.readouterr().err
    assert main(["train", str(build), "--data", str(data), "--run", "three", "--allow-forgotten"]) == 0


def test_rollback_needs_logged_runs(build: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = data.parent / "rows.txt"
    rows.write_text("3")
    arguments = ["unlearn", str(build), "--data", str(data), "--method", "rollback", "--forget", str(rows)]
    assert main(arguments) == 2
    assert "no persistent store" in capsys.readouterr().err


def test_the_log_is_shown_with_what_was_forgotten(
    build: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(build), "--log"]) == 2
    assert "no run log" in capsys.readouterr().err
    assert main(["train", str(build), "--data", str(data), "--run", "[one]", "--epochs", "2"]) == 0
    hashes = run_json(capsys, "info", str(build), "--log")["runs"][0]["hashes"]
    (tmp_path / "forget.txt").write_text(hashes[5] + "\n")
    request = ["--method", "rollback", "--data", str(data), "--forget", str(tmp_path / "forget.txt")]
    assert main(["unlearn", str(build), *request]) == 0
    told = run_json(capsys, "info", str(build), "--log")
    assert [entry["hash"] for entry in told["forgotten"]] == [hashes[5]]
    assert main(["info", str(build), "--log"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "[one]",
        "complete",
        "epochs 2",
        "rollback:replay",
        "certified",
        told["runs"][0]["weights"][:16],
    ):
        assert word in shown
    assert main(["info", str(build), "--log", "--reference"]) == 2
