"""What the README shows works: its Python runs, its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from mcutrain.cli.main import cli

README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")


def test_the_python_example_runs(
    dense_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "m.onnx").write_bytes(dense_model.read_bytes())
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(20, 64)).astype(np.float32),
        "y": rng.integers(0, 10, 20),
        "x_test": rng.normal(size=(5, 64)).astype(np.float32),
        "y_test": rng.integers(0, 10, 5),
    }
    exec(compile(example, "README.md", "exec"), arrays)
    assert "Evaluation(" in capsys.readouterr().out
    assert (tmp_path / "trained.onnx").is_file()


def test_every_command_line_exists() -> None:
    joined = re.sub(r"\\\n\s*", "", README)
    lines = re.findall(r"^\$ mcutrain (.*?)(?:\s+#.*)?$", joined, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        verb, *arguments = shlex.split(line)
        command = cli.commands[verb]
        if isinstance(command, click.Group):
            command = command.commands[arguments.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        used = {argument for argument in arguments if argument.startswith("-")}
        assert used <= known, line


def test_every_verb_is_listed() -> None:
    for verb in cli.commands:
        assert f"`{verb}`" in README
