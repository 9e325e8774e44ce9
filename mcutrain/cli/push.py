"""``mcutrain push``: weights of an ONNX file to the device."""

from __future__ import annotations

from pathlib import Path

import click

from mcutrain.cli.console import errors, output
from mcutrain.cli.options import build_argument, connect, open_build, port_option
from mcutrain.weights import read_weights
from mcutrain.words import counted


@click.command("push", short_help="Send the weights of an ONNX file to a device.")
@build_argument
@click.argument("weights", type=click.Path(path_type=Path))
@port_option
def command(build: Path, weights: Path, port: str | None) -> None:
    """Send the weights of an ONNX file (WEIGHTS, for example trained.onnx) to a device that runs BUILD."""
    opened = open_build(build)
    values = read_weights(weights, opened.manifest)
    with connect(opened, port) as learner, errors().status("sending weights …"):
        learner.load(values)
    output().print(f"[green]✓[/] {counted(len(values), 'weight')} sent")
    if port is None:
        errors().print(
            "the simulator ended with this command; `--weights` of train, eval and infer lasts longer"
        )
