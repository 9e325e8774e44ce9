"""``mcutrain unlearn`` on a device that logs its runs: exact, certified, repeatable, and nothing unseen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcutrain
from mcutrain.build import Build
from mcutrain.cli.main import main
from mcutrain.executor import same_bits
from mcutrain.runlog import RunLog
from mcutrain.unlearning import certificate

OPTIONS: dict[str, Any] = {"epochs": 20, "lr": 0.2, "batch": 4}


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sixteen samples that show their label: one value stands out."""
    y = np.arange(16, dtype=np.int32) % 10
    x = np.random.default_rng(seed).random((16, 64)).astype(np.float32)
    x[np.arange(16), y] += 3
    return x, y


@pytest.fixture
def logged(dense_model: Path, tmp_path: Path) -> tuple[Build, list[str]]:
    """A build whose device has two runs, and the arguments that name its data."""
    build = mcutrain.compile(dense_model, loss="cross-entropy", out=tmp_path / "build", unlearn="gradient")
    with build.session(store=True) as device:
        log = RunLog.open(build, device)
        for number in (1, 2):
            log.record_run(f"run {number}", *samples(number), **OPTIONS, seed=number)
    (x1, y1), (x2, y2) = samples(1), samples(2)
    np.savez(tmp_path / "d.npz", x_train=np.concatenate([x1, x2]), y_train=np.concatenate([y1, y2]))
    return build, ["unlearn", str(build.directory), "--data", str(tmp_path / "d.npz")]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_rollback_by_row_and_by_hash(
    logged: tuple[Build, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, arguments = logged
    (tmp_path / "rows.txt").write_text("20\n")
    request = [*arguments, "--method", "rollback", "--forget", str(tmp_path / "rows.txt")]
    told = run_json(capsys, *request, "--cost")
    got = run_json(capsys, *request)
    assert got["honesty"] == "exact"
    assert got["streamed"]["gradient"] == told["streamed"]["gradient"] == 15 * OPTIONS["epochs"]
    assert got["steps"] == told["steps"]
    # of the native firmware: microseconds of processor time
    assert told["rate"] == got["cost"]["rate"] == 1_000_000
    assert min(told["ticks"], told["seconds"], got["taken"]["ticks"], got["taken"]["seconds"]) > 0

    with build.reference(store=False) as learner:  # the same runs without sample 4 of the second
        learner.train(*samples(1), **OPTIONS, seed=1)
        learner.train(*samples(2), **OPTIONS, seed=2, exclude=(4,))
        wanted = learner.weights()
    with build.session() as device:
        assert all(same_bits(device.weights()[name], wanted[name]) for name in wanted)
        log = RunLog.open(build, device)
        (tmp_path / "hashes.txt").write_text(log.runs[0].hashes[3].hex() + "\n")

    again = run_json(capsys, *request)
    assert not again["changed"]
    assert "was forgotten already" in again["stop"]
    assert main(request) == 0
    assert "nothing is done" in capsys.readouterr().out

    by_hash = [*arguments, "--method", "rollback", "--forget", str(tmp_path / "hashes.txt")]
    got = run_json(capsys, *by_hash)
    assert got["streamed"]["gradient"] == 2 * 15 * OPTIONS["epochs"]
    chain, findings = certificate.read(build.directory / certificate.FILE_NAME)
    assert not findings
    assert not certificate.check(chain)
    assert [c.text["method"] for c in chain] == ["rollback", "rollback"]
    assert chain[-1].hash == got["certificate"]


def test_an_approximate_method_is_certified_for_what_it_is(
    logged: tuple[Build, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, arguments = logged
    request = [*arguments, "--method", "gradient:ascent", "--forget-class", "3"]
    loose = ["-O", "guard_points=100", "-O", "guard_rise=1000", "-O", "target=0", "-O", "lr=0.1"]
    got = run_json(capsys, *request, *loose)
    assert got["changed"]
    chain, findings = certificate.read(build.directory / certificate.FILE_NAME)
    assert not findings + certificate.check(chain)
    (only,) = chain
    assert (only.text["honesty"], only.text["variant"]) == ("suppression", "ascent")
    assert "does not prove" in only.meaning()
    carriers = {name: (fate, note) for name, fate, note in only.text["carriers"]}
    assert carriers["weights"][0] == "kept"
    assert carriers["snapshots"] == ("cleared", "those before runs 2 are erased")
    assert carriers["flash"][0] == carriers["gradients"][0] == "cleared"
    with build.session() as device:
        assert "snapshot/2" not in RunLog.open(build, device).store.entries()

    # a goal that is missed leaves device and chain as they were
    with build.session() as device:
        before = device.weights()
    strict = ["-O", "guard_points=0", "-O", "guard_rise=0", "-O", "target=0", "-O", "lr=5", "--seed", "1"]
    other = [*arguments, "--method", "gradient:ascent", "--forget-class", "4"]
    got = run_json(capsys, *other, *strict, status=1)
    assert not got["changed"]
    with build.session() as device:
        assert all(same_bits(before[name], array) for name, array in device.weights().items())
    assert len(certificate.read(build.directory / certificate.FILE_NAME)[0]) == 1


def test_what_was_told_stands_beside_what_it_took(
    logged: tuple[Build, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, arguments = logged
    (tmp_path / "rows.txt").write_text("20\n")
    assert main([*arguments, "--method", "rollback", "--forget", str(tmp_path / "rows.txt")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"of which the device itself works [0-9.]+ s", shown)
    assert re.search(
        r"device [0-9.]+ s told, [0-9.]+ s taken \([+-][0-9.]+%\); in all [0-9.]+ s told, [0-9.]+ s taken",
        shown,
    )


def test_samples_that_were_never_trained_are_refused(
    logged: tuple[Build, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, arguments = logged
    x, y = samples(3)
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y)
    other = [*arguments[:3], str(tmp_path / "other.npz"), "--method", "rollback", "--forget-class", "3"]
    assert main(other) == 2
    assert "no logged run has trained 2 samples of the 2 named" in capsys.readouterr().err
    (tmp_path / "hashes.txt").write_text("ab" * 32 + "\n")
    unknown = [*arguments, "--method", "rollback", "--forget", str(tmp_path / "hashes.txt")]
    assert main(unknown) == 2
    assert "is of no logged sample" in capsys.readouterr().err
    (tmp_path / "hashes.txt").write_text("ab" * 32 + "\n12\n")
    assert main(unknown) == 2
    assert "line 2: '12' is no hash" in capsys.readouterr().err
    weights = [*arguments, "--weights", str(build.model_path), "--method", "rollback", "--forget-class", "3"]
    assert main(weights) == 2
    assert "run log, whose state --weights would replace" in capsys.readouterr().err


def test_a_sample_that_is_there_twice_is_forgotten_twice(
    logged: tuple[Build, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, arguments = logged
    data = tmp_path / "d.npz"
    with np.load(data) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    np.savez(data, x_train=np.concatenate([x, x[20:21]]), y_train=np.concatenate([y, y[20:21]]))
    (tmp_path / "rows.txt").write_text("20\n")
    request = [*arguments, "--method", "gradient:ascent", "--forget", str(tmp_path / "rows.txt")]
    loose = ["-O", "guard_points=100", "-O", "guard_rise=1000", "-O", "target=0", "-O", "lr=0.1"]
    got = run_json(capsys, *request, *loose)
    assert got["before"]["forget"]["samples"] == 2
    assert got["before"]["guard"]["samples"] == 31


@pytest.mark.parametrize("backend", [[], ["--reference"]])
def test_a_head_is_certified_and_repeated(
    dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: list[str]
) -> None:
    """Exact where nothing below the head trains: the certificates repeat, whatever trained it in between."""
    unlearn = "analytic-head,rollback"
    build = mcutrain.compile(
        dense_model, loss="cross-entropy", out=tmp_path / "b", unlearn=unlearn, train="dense2*"
    )
    (x1, y1), (x2, y2) = samples(1), samples(2)
    data = tmp_path / "d.npz"
    np.savez(data, x_train=np.concatenate([x1, x2]), y_train=np.concatenate([y1, y2]))
    with build.reference(store=True) if backend else build.session(store=True) as device:
        RunLog.open(build, device).record_run("one", x1, y1, **OPTIONS)
    request = ["unlearn", str(build.directory), "--data", str(data), *backend]

    def ask(row: int, *method: str) -> Any:
        (tmp_path / "rows.txt").write_text(f"{row}\n")
        return run_json(capsys, *request, "--forget", str(tmp_path / "rows.txt"), "--method", *method)

    assert ask(3, "analytic-head:refit")["honesty"] == "exact"
    assert ask(5, "analytic-head")["parameters"]["samples_left"] == 14
    with build.reference(store=True) if backend else build.session(store=True) as device:
        RunLog.open(build, device).record_run("two", x2, y2, **OPTIONS)
    assert ask(7, "analytic-head")["parameters"]["samples_left"] == 13
    assert ask(20, "rollback")["honesty"] == "exact"

    name = certificate.REFERENCE_FILE if backend else certificate.FILE_NAME
    path = str(build.directory / name)
    for other in ([], ["--reference"]):
        told = run_json(capsys, "certificate", "verify", path, "--replay", "--data", str(data), *other)
        assert [r["status"] for r in told["replay"]] == ["equal"] * 4
        assert "13 samples counted again" in told["replay"][2]["reason"]
    x, y = np.concatenate([x1, x2]), np.concatenate([y1, y2])
    np.savez(data, x_train=np.delete(x, 5, 0), y_train=np.delete(y, 5))
    told = run_json(capsys, "certificate", "verify", path, "--replay", "--data", str(data), status=1)
    assert [r["status"] for r in told["replay"]] == ["not done", "equal", "equal", "equal"]
    assert "the data has 14 of 15 samples that the head held" in told["replay"][0]["reason"]


def test_a_head_above_layers_that_trained_is_not_called_exact(
    dense_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = mcutrain.compile(dense_model, loss="cross-entropy", out=tmp_path / "b", unlearn="analytic-head")
    x, y = samples(1)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y)
    with build.session(store=True) as device:
        RunLog.open(build, device).record_run("one", x, y, **OPTIONS)
    (tmp_path / "rows.txt").write_text("3\n")
    request = ["unlearn", str(build.directory), "--data", str(tmp_path / "d.npz")]
    got = run_json(
        capsys, *request, "--forget", str(tmp_path / "rows.txt"), "--method", "analytic-head:refit"
    )
    assert got["honesty"] == "suppression"
    assert "layers below it, which this build trains, may still know them" in got["stop"]
    (only,), _ = certificate.read(build.directory / certificate.FILE_NAME)
    assert only.text["honesty"] == "suppression"
