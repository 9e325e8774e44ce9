"""``mcutrain evaluate`` on a small network: from the request to the report."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcutrain import data as datasets
from mcutrain.cli.main import main
from mcutrain.evaluation.retrain import Trainer

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Strict(HTMLParser):
    """Every element that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # HTML lets rows and cells end by themselves; the page closes what it opens.
        assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def keep(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained models of this module's tests are kept together."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits = datasets.load("digits").arrays
    path = tmp_path_factory.mktemp("data") / "d.npz"
    groups = np.where(np.arange(300) % 10 == 3, "ann", "bob")
    arrays = {name: array[: 300 if "train" in name else 120] for name, array in digits.items()}
    np.savez(path, **arrays, group_train=groups)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "dense"
    assert (
        main(["compile", str(dense_model), "--target", "native", "--loss", "cross-entropy", "-o", str(out)])
        == 0
    )
    return out


TRAINING = ["--epochs", "8", "--lr", "0.1", "--batch", "4"]


@pytest.fixture(scope="module")
def trained(build: Path, samples: Path) -> Path:
    path = build / "trained.onnx"
    arguments = ["train", str(build), "--data", str(samples), "--keep", "last", "--out", str(path)]
    assert main([*arguments, *TRAINING]) == 0
    return path


def evaluate(build: Path, samples: Path, out: Path, *more: str) -> int:
    return main(
        ["evaluate", str(build), "--data", str(samples), *TRAINING, "--golds", "2", "-o", str(out), *more]
    )


@pytest.mark.usefixtures("keep")
def test_the_untouched_model_fails_and_a_retrained_one_does_not(
    build: Path, samples: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ["--forget-class", "5", "--unlearned", str(trained), "--shadows", "4", "--processes", "2"]
    arguments += ["--shadow-cache", str(tmp_path / "shadows")]
    assert evaluate(build, samples, out, *arguments) == 0
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert "accuracy on the forgotten" in shown
    result = json.loads((out / "report.json").read_text())
    (judged,) = result["judged"]
    assert judged["verdict"] == {
        "word": "failed",
        "gate": "acc_forget",
        "reason": judged["verdict"]["reason"],
    }
    # Training on the command line and here is the same: the file's weights are those of the original.
    assert judged["weights_sha256"] == result["original"]["weights_sha256"]
    assert {g["weights_sha256"] for g in result["retrained"]}.isdisjoint({judged["weights_sha256"]})
    reference = result["reference"]
    assert reference["acc_forget"]["mean"] == 0.0
    assert 0 <= reference["lira"]["mean"] <= 1
    assert result["shadows"] == 4
    assert "4 shadow models" in (out / "report.html").read_text("utf-8")
    assert result["original"]["figures"]["acc_forget"] > 0.9
    # retrained models are with each other what the original is not with them
    assert reference["kl_forget"]["mean"] < result["original"]["figures"]["kl_forget"]
    assert reference["cka_forget"]["mean"] > result["original"]["figures"]["cka_forget"]
    assert len(result["original"]["by_class"]) == 10
    assert len(list((tmp_path / "shadows").glob("shadows-*.npz"))) == 1
    assert evaluate(build, samples, out, *arguments, "--require", "removal") == 1


@pytest.mark.usefixtures("keep")
def test_the_page_stands_alone_and_is_well_formed(
    build: Path, samples: Path, trained: Path, tmp_path: Path
) -> None:
    assert evaluate(build, samples, tmp_path, "--forget-class", "5", "--unlearned", str(trained)) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    # gates, classes, two by layer, three times losses, relearning
    assert parser.seen.count("svg") == 8
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert "NaN" not in page
    assert "None" not in page


@pytest.mark.usefixtures("keep")
def test_two_requests_a_group_and_a_file(build: Path, samples: Path, trained: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("# a few\n1\n4 # and this\n\n")
    arguments = ["--forget", str(rows), "--forget-group", "ann", "--unlearned", str(trained)]
    assert evaluate(build, samples, tmp_path / "r", *arguments) == 0
    result = json.loads((tmp_path / "r" / "report.json").read_text())
    assert [q["told"] for q in result["requests"]] == [2, 30]
    assert result["request"]["forget"] == 32
    # random samples are no class: nothing to trace in the classifier
    assert "row_cosine" not in result["original"]["figures"]
    assert result["judged"][0]["figures"]["probe_recall"] is not None


@pytest.mark.usefixtures("keep")
def test_an_exact_claim_is_settled_by_bits(build: Path, samples: Path, trained: Path, tmp_path: Path) -> None:
    arguments = ["--forget-class", "5", "--unlearned", str(trained), "--control", str(trained)]
    assert evaluate(build, samples, tmp_path, *arguments, "--require", "exact") == 0
    assert json.loads((tmp_path / "report.json").read_text())["judged"][0]["verdict"]["word"] == "exact"


@pytest.mark.usefixtures("keep")
def test_hashes_of_a_run_log_name_rows(
    dense_model: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file that `mcutrain unlearn --forget` takes is one that `mcutrain evaluate` takes."""
    build = tmp_path / "logged"
    compiling = ["compile", str(dense_model), "--target", "native", "--loss", "cross-entropy"]
    assert main([*compiling, "-o", str(build)]) == 0
    hashes = tmp_path / "hashes.txt"
    hashes.write_text("00" * 32 + "\n")
    assert evaluate(build, samples, tmp_path / "r", "--forget", str(hashes)) == 2
    assert "this device has none" in " ".join(capsys.readouterr().err.split())
    training = ["train", str(build), "--data", str(samples), "--run", "one", *TRAINING, "--limit", "40"]
    assert main([*training, "--keep", "last"]) == 0
    (run,) = json.loads((build / "state" / "log.json").read_text())["runs"]
    assert evaluate(build, samples, tmp_path / "r", "--forget", str(hashes)) == 2
    assert "1 of 1 hashes are of no sample" in " ".join(capsys.readouterr().err.split())
    hashes.write_text("\n".join(run["hashes"][i] for i in (7, 30)) + "\n")
    rows = tmp_path / "rows.txt"
    rows.write_text("7\n30\n")
    found = []
    for request in (hashes, rows):
        asked = ["--forget", str(request), "--method", "rollback"]
        assert evaluate(build, samples, tmp_path / "r", *asked, "--require", "exact") == 0
        found.append(json.loads((tmp_path / "r" / "report.json").read_text()))
    assert [result["request"]["forget"] for result in found] == [2, 2]
    digests = {result["judged"][0]["weights_sha256"] for result in found}
    assert len(digests) == 1
    # the log of the build's own device is as it was
    assert len(json.loads((build / "state" / "log.json").read_text())["runs"]) == 1


@pytest.mark.usefixtures("keep")
def test_rollback_is_given_logged_runs(build: Path, samples: Path, tmp_path: Path) -> None:
    arguments = ["--forget-group", "ann", "--method", "rollback", "--require", "exact"]
    assert evaluate(build, samples, tmp_path, *arguments) == 0
    (judged,) = json.loads((tmp_path / "report.json").read_text())["judged"]
    assert judged["verdict"]["word"] == "exact"
    assert judged["outcomes"][0]["honesty"] == "exact"
    # as long as what is forgotten was in the first run, it costs what retraining costs
    assert judged["cost"]["gradient"] == judged["cost"]["retraining"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to forget"),
        (["--forget-class", "11"], "no training sample has class 11"),
        (["--forget-group", "eve"], "the groups are ann, bob"),
        (["--forget", "{tmp}/absent.txt"], "cannot read"),
        (["--forget", "{tmp}/words.txt"], "line 2: 'x' is no row number"),
        (["--forget", "{tmp}/far.txt"], "names sample 300"),
        (["--forget-class", "1", "--method", "magic"], "no unlearning method 'magic'"),
        (["--forget-class", "1", "--method", "analytic-head"], "has no Program 'head_features'"),
        (
            ["--forget-class", "1", "--method", "gradient", "-O", "mask=wagle"],
            "--unlearn gradient,gradient+mask",
        ),
        (["--forget-class", "1", "-O", "nothing=1"], "no method here has an option 'nothing'"),
        (["--forget-class", "1", "--shadows", "1"], "on 1 shadow model"),
        (["--forget-class", "1", "--schedule", "3:1"], "how was the model trained"),
        (["--forget-class", "1", "--unlearned", "{tmp}/other.npz"], "none of the model's weights"),
    ],
)
def test_what_cannot_be_is_said_before_anything_trains(
    build: Path,
    samples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("a model is trained"))
    (tmp_path / "words.txt").write_text("1\nx\n")
    (tmp_path / "far.txt").write_text("300\n")
    np.savez(tmp_path / "other.npz", other=np.zeros(3))
    given = [a.replace("{tmp}", str(tmp_path)) for a in arguments]
    assert evaluate(build, samples, tmp_path / "out", *given) == 2
    shown = capsys.readouterr().err
    assert words in " ".join(shown.split())
    assert not (tmp_path / "out").exists()
