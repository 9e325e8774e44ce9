"""Bad input: one clear message on standard error, exit status 2, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dense_model import make_dense_model
from onnx import TensorProto, helper, numpy_helper

from mcutrain.cli.main import main


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Path:
    out = tmp_path_factory.mktemp("errors") / "dense"
    assert main(["compile", str(dense_model), "--loss", "cross-entropy", "-o", str(out)]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The message of a command that must fail with status 2."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.err.startswith("error: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""
    return printed.err


def save_relu(path: Path, op: str = "Relu", weight: Any = None) -> Path:
    """A model of one node, or of a dense layer with ``weight``."""
    inputs = ["x"] if weight is None else ["x", "w"]
    initializers = [] if weight is None else [numpy_helper.from_array(weight, "w")]
    shape = [1, 4] if weight is None else [1, weight.shape[0]]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], "the_node")],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, [1, 4 if weight is None else weight.shape[1]]
            )
        ],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_missing_truncated_or_corrupt_model(
    tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "build"
    assert "none.onnx" in refused(capsys, "compile", tmp_path / "none.onnx", "-o", out)
    contents = dense_model.read_bytes()
    (tmp_path / "short.onnx").write_bytes(contents[: len(contents) // 2])
    refused(capsys, "compile", tmp_path / "short.onnx", "-o", out)
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(500))
    refused(capsys, "compile", tmp_path / "noise.onnx", "-o", out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise.onnx", "short.onnx"]


def test_an_unsupported_operator_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "compile", save_relu(tmp_path / "m.onnx", "Erf"), "-o", tmp_path / "build")
    assert "the_node" in message
    assert "Erf" in message
    assert not (tmp_path / "build").exists()


def test_nan_weights_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight = np.full((4, 3), np.nan, np.float32)
    model = save_relu(tmp_path / "m.onnx", "MatMul", weight)
    assert "NaN" in refused(capsys, "compile", model, "-o", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_a_model_too_big_names_the_tensor_and_the_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_relu(tmp_path / "m.onnx", "MatMul", np.ones((2048, 1024), np.float32))
    message = refused(capsys, "compile", model, "--target", "qemu", "--loss", "mse", "-o", tmp_path / "build")
    assert "bytes" in message
    assert str(2048 * 1024 * 4) in message.replace(" ", "").replace(",", "") or "dense1" in message
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--target", "arduino"], "arduino"),
        (["--loss", "cross-entropy", "--train", "nothing*"], "nothing*"),
        (["--loss", "cross-entropy", "--unlearn", "ssd,amnesia"], "no unlearning method 'amnesia'"),
        (["--unlearn", "ssd"], "unlearning needs a loss"),
    ],
)
def test_options_that_do_not_fit(
    arguments: list[str], word: str, tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in refused(capsys, "compile", dense_model, *arguments, "-o", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_a_wrong_option_is_a_usage_error(dense_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(dense_model), "--precision", "fp8"]) == 2
    assert "'fp8' is not one of" in capsys.readouterr().err


def test_a_missing_compiler(
    tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCUTRAIN_CC", "no-such-compiler")
    assert "no-such-compiler" in refused(capsys, "compile", dense_model, "-o", tmp_path / "build")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_qemu(
    tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["compile", str(dense_model), "--target", "qemu", "-o", str(tmp_path / "build")]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused(capsys, "infer", tmp_path / "build", "--data", "digits", "--index", "0")
    assert "qemu-system-riscv32" in message
    assert "install" in message


def test_output_that_is_not_a_build_is_not_overwritten(
    tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert "not a build" in refused(capsys, "compile", dense_model, "-o", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_directory_without_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a build" in refused(capsys, "info", tmp_path)


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"y_train": np.array([0, 10])}, "label 10 of sample 1"),
        ({"x_train": np.zeros((2, 63), np.float32)}, "shape (63,)"),
        ({"x_train": np.full((2, 64), np.nan, np.float32)}, "NaN"),
        ({"x_train": np.array([["a"] * 64] * 2)}, "integers or floats"),
        ({"y_train": np.array([0, 1, 2])}, "not (2,)"),
    ],
)
def test_data_that_does_not_fit(
    arrays: dict[str, Any], word: str, build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"x_train": np.zeros((2, 64), np.float32), "y_train": np.array([0, 1])}
    np.savez(tmp_path / "d.npz", **{**good, **arrays})
    out = tmp_path / "t.onnx"
    assert word in refused(capsys, "train", build, "--data", tmp_path / "d.npz", "--out", out)
    assert not out.exists()


def test_places_that_are_not_there(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no data file" in refused(capsys, "train", build, "--data", tmp_path / "none.npz")
    out = tmp_path / "none" / "t.onnx"
    assert "no directory" in refused(capsys, "train", build, "--data", "digits", "--out", out)
    message = refused(capsys, "eval", build, "--data", "digits", "--port", tmp_path / "ttyUSB7")
    assert "ttyUSB7" in message
    message = refused(capsys, "pull", build, "--port", "socket://127.0.0.1:9", "--out", tmp_path / "p.onnx")
    assert "127.0.0.1:9" in message


def test_weights_of_another_model(
    build: Path, dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_dense_model(tmp_path / "other.onnx", outputs=7)
    assert "shape" in refused(capsys, "push", build, other)


def test_momentum_needs_its_buffers(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--momentum" in refused(capsys, "train", build, "--data", "digits", "--momentum", "0.9")


def test_divergence_stops_with_advice(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.onnx"
    capsys.readouterr()
    status = main(
        ["train", str(build), "--data", "digits", "--lr", "1e5", "--no-validate", "--out", str(out)]
    )
    message = capsys.readouterr().err
    assert status == 2
    assert "diverged" in message
    assert "--lr" in message
    assert not out.exists()


def test_a_build_without_a_loss_does_not_train(
    tmp_path: Path, dense_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(dense_model), "-o", str(tmp_path / "build")]) == 0
    assert "--loss" in refused(capsys, "train", tmp_path / "build", "--data", "digits")


def children() -> set[str]:
    """Processes whose environment carries this test's mark."""
    mark = f"MCUTRAIN_TEST={os.getpid()}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_the_best_weights_and_leaves_no_process(
    number: signal.Signals, build: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.onnx"
    code = "from mcutrain.cli.main import run; run()"
    arguments = ["train", str(build), "--data", "digits", "--limit", "30", "--epochs", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments, "--lr", "0.001", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MCUTRAIN_TEST": str(os.getpid())},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("epoch 1/100000")
        time.sleep(0.3)
        process.send_signal(number)
        _, message = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, message
    assert "kept in" in message
    assert "Traceback" not in message
    assert out.is_file()
    onnx.checker.check_model(onnx.load(out))
    assert children() == set()
