"""``mcutrain pull``: the device's weights into an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from mcutrain.cli.console import errors, output
from mcutrain.cli.options import build_argument, check_output, connect, open_build, port_option
from mcutrain.words import counted


@click.command("pull", short_help="Read a device's weights back into an ONNX file.")
@build_argument
@port_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The ONNX file to write (default: pulled.onnx in the build directory).",
)
def command(build: Path, port: str | None, out: Path | None) -> None:
    """Read the weights of a device that runs BUILD back into an ONNX file."""
    opened = open_build(build)
    out = check_output(out or build / "pulled.onnx")
    with connect(opened, port) as learner, errors().status("reading weights …"):
        weights = learner.weights()
    opened.save_onnx(out, weights)
    output().print(f"[green]✓[/] {out}  ({counted(len(weights), 'weight')})")
    if port is None:
        errors().print("the simulator was started for this, so these are the weights of the build itself")
