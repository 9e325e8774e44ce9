"""``mcutrain targets``: the boards there are."""

from __future__ import annotations

import click

from mcutrain.cli.console import output, print_json, size, table
from mcutrain.cli.options import json_option
from mcutrain.targets import find_target, list_targets


@click.command("targets")
@json_option
def command(as_json: bool) -> None:
    """List the boards a model can be compiled for."""
    targets = [find_target(name) for name in list_targets()]
    if as_json:
        print_json(
            [
                {
                    "name": t.name,
                    "description": t.description,
                    "simulator": t.simulator or None,
                    "link": t.link,
                    "workers": t.workers,
                    "memory": {"name": t.memory.name, "bytes": t.memory.size},
                    "dot": t.dot,
                }
                for t in targets
            ]
        )
        return
    listing = table("target", "description", "workers>", "link", "memory>")
    for t in targets:
        memory = f"{size(t.memory.size)} {t.memory.name}" if t.memory.size else "no limit"
        listing.add_row(t.name, t.description, str(t.workers), t.link, memory)
    output().print(listing)
