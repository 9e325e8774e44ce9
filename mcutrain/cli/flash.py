"""``mcutrain flash``: load the firmware through a GDB server."""

from __future__ import annotations

from pathlib import Path

import click

from mcutrain.cli.console import output, progress
from mcutrain.cli.options import build_argument, open_build


@click.command("flash", short_help="Load a BUILD's firmware into a board and start it.")
@build_argument
@click.option(
    "--gdb",
    required=True,
    metavar="HOST:PORT",
    help="A GDB server that holds the chip: OpenOCD, J-Link, or QEMU started with -S -gdb.",
)
def command(build: Path, gdb: str) -> None:
    """Load a BUILD's firmware into a board, check it, and start it.

    Simulator targets need none of this: the other commands start them.
    """
    from mcutrain.device.flash import flash

    opened = open_build(build)
    with progress() as bar:
        task = bar.add_task("loading", total=None)
        written = flash(
            opened.firmware_path, gdb, lambda done, total: bar.update(task, completed=done, total=total)
        )
    output().print(f"[green]✓[/] {written} bytes loaded, verified and started")
