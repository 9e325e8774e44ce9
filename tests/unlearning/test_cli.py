"""``mcutrain unlearn``: requests from files, what is said before and after, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forgetting import Trained
from onnx import numpy_helper

from mcutrain.cli.main import main

HINGE = ["--method", "gradient:inverted-hinge", "-O", "retain_steps=2", "-O", "lr=0.005", "-O", "epochs=20"]


@pytest.fixture(scope="module")
def start(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The build and what every request on it says."""
    path = tmp_path_factory.mktemp("start") / "trained.onnx"
    trained.build.save_onnx(path, trained.weights)
    return [str(trained.build.directory), "--data", "digits", "--weights", str(path)]


def unlearn(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main(["unlearn", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["unlearn", *arguments]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    return shown.err


def test_the_list_shows_methods_variants_and_options(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {m["name"]: m for m in unlearn(capsys, "--list")}
    assert known["ssd"]["honesty"] == "suppression"
    assert known["ssd"]["bytes"] is None
    assert {v["name"] for v in known["gradient"]["variants"]} >= {"npo", "uniform"}
    (only,) = unlearn(capsys, str(trained.build.directory), "--list", "--method", "ssd")
    assert only["bytes"] == 64 * 12 + 12 + 12 * 10 + 10
    assert main(["unlearn", "--list"]) == 0
    assert "sparse-finetune:eu-k" in capsys.readouterr().out
    assert main(["unlearn", "--list", "--method", "ssd"]) == 0
    shown = capsys.readouterr().out
    assert "-O guard_points" in shown
    assert "gradient" not in shown


def test_a_class_is_forgotten_and_the_file_says_so(
    trained: Trained, start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "unlearned.onnx"
    assert main(["unlearn", *start, *HINGE, "--forget-class", "3", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("cost: at most") < shown.index("guard")
    assert "suppression: the network behaves as if" in shown
    assert str(out) in shown
    forget, _ = trained.of_class(3)
    with trained.build.session() as device:
        device.load({i.name: numpy_helper.to_array(i) for i in onnx.load(out).graph.initializer})
        assert (device.evaluate(*forget).accuracy or 0) <= 0.05


def test_the_cost_alone_changes_and_writes_nothing(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none.onnx"
    told = unlearn(capsys, *start, *HINGE, "--forget-class", "3", "--cost", "-o", str(out))
    assert told["streamed"]["gradient"] > 0
    assert told["steps"] > 0
    assert told["seconds"] > 0
    assert not out.exists()
    got = unlearn(capsys, *start, *HINGE, "--forget-class", "3", "-o", str(out))
    assert got["cost"]["streamed"] == told["streamed"]
    assert got["streamed"]["gradient"] <= told["streamed"]["gradient"]


def test_a_goal_that_is_missed_exits_with_1_and_writes_nothing(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none.onnx"
    arguments = [
        "--method",
        "gradient:ascent",
        "-O",
        "lr=0.5",
        "-O",
        "adapt=false",
        "--forget-class",
        "3",
        "-o",
        str(out),
    ]
    got = unlearn(capsys, *start, *arguments, status=1)
    assert not got["changed"]
    assert got["out"] is None
    assert "the guard set suffers" in got["stop"]
    assert not out.exists()


def test_the_importance_in_a_file_serves_the_next_request(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "first.npz"
    strong = ["--method", "ssd", "-O", "damping=0", "-O", "alpha=1", "-O", "guard_points=100"]
    first = unlearn(capsys, *start, *strong, "--forget-class", "3", "-o", str(out))
    left = first["parameters"]["samples_left"]
    assert left == first["parameters"]["training_samples"] - first["before"]["forget"]["samples"]
    with np.load(out) as arrays:
        assert arrays["dense1.weight.importance"].any()
        assert set(arrays) >= {"w1", "b1", "w2", "b2"}
    # no training data but the forget set streams any more
    followed = [*start[:3], "--weights", str(out), *strong, "-O", f"training_samples={left}"]
    arguments = ["--forget-class", "4", "--retain", "none", "--guard", "digits", "-O", "target=1e-9"]
    second = unlearn(capsys, *followed, *arguments, "--cost")
    assert second["streamed"]["gradient"] == 147  # digits of class 4
    assert main(["unlearn", *followed, *arguments, "-o", str(tmp_path / "second.npz")]) in (0, 1)
    without = [*start, *strong, "-O", "training_samples=9999", *arguments]
    assert "no importance is stored" in refused_late(capsys, *without)


def refused_late(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["unlearn", *arguments]) == 2
    return capsys.readouterr().err


def test_rows_from_a_file(start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.txt").write_text("3\n7  # a comment\n\n11\n7\n")
    arguments = ["--method", "gradient:npo", "--forget", str(tmp_path / "rows.txt"), "-O", "epochs=1"]
    got = unlearn(capsys, *start, *arguments, "-O", "target=1", "-o", str(tmp_path / "out.npz"))
    assert got["before"]["forget"]["samples"] == 3
    assert got["stop"] == "the forget set is at its target already"
    assert not got["changed"]


def test_a_group_is_a_subject(
    trained: Trained, start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = trained.train
    groups = np.array([f"writer{i % 7}" for i in range(len(y))])
    data = tmp_path / "groups.npz"
    np.savez(data, x_train=x, y_train=y, group_train=groups)
    arguments = [start[0], "--data", str(data), *start[3:], "--method", "sparse-finetune:cf-k"]
    got = unlearn(capsys, *arguments, "-O", "epochs=1", "--forget-group", "writer3")
    assert got["before"]["forget"]["samples"] == int(np.count_nonzero(groups == "writer3"))
    assert got["held_out"]["before"] is None
    assert "no training sample is of group 'nobody'" in refused(
        capsys, *arguments, "--forget-group", "nobody"
    )


def test_what_is_missing_or_wrong_is_said(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    npo = ["--method", "gradient:npo"]
    assert "--list shows the methods" in refused(capsys)
    assert "give one of --forget" in refused(capsys, *start, *npo)
    assert "give one of --forget" in refused(
        capsys, *start, *npo, "--forget-class", "1", "--forget-group", "a"
    )
    assert "no unlearning method 'magic'" in refused(
        capsys, *start, "--method", "magic", "--forget-class", "1"
    )
    assert "no training sample has class 10" in refused(capsys, *start, *npo, "--forget-class", "10")
    assert "-O lr has no value" in refused(capsys, *start, *npo, "--forget-class", "1", "-O", "lr")
    assert "option lr is 'fast'" in refused(capsys, *start, *npo, "--forget-class", "1", "-O", "lr=fast")
    assert "has no 'group_train'" in refused(capsys, *start, *npo, "--forget-group", "a")
    (tmp_path / "rows.txt").write_text("9999\n")
    assert "names sample 9999" in refused(capsys, *start, *npo, "--forget", str(tmp_path / "rows.txt"))
    assert "needs the retain set" in refused(
        capsys, *start, *npo, "--forget-class", "1", "--retain", "none", "--guard", "digits"
    )
