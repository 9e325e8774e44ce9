"""``mcutrain info``: what is in a build."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from mcutrain.cli.console import number, output, print_json, size, table
from mcutrain.cli.options import build_argument, json_option, open_build
from mcutrain.manifest import Manifest


@click.command("info")
@build_argument
@json_option
def command(build: Path, as_json: bool) -> None:
    """Show a build: layers, shapes, multiply-accumulates, memory map, what trains."""
    manifest = open_build(build).manifest
    if as_json:
        print_json(
            {
                "name": manifest.name,
                "build_id": manifest.build_id,
                "options": asdict(manifest.options),
                "layers": [asdict(layer) for layer in manifest.layers],
                "memory": asdict(manifest.memory),
                "data_size": manifest.data_size,
                "arena_size": manifest.arena_size,
                "programs": {p.name: len(p.calls) for p in manifest.programs},
            }
        )
        return
    options = manifest.options
    console = output()
    console.print(f"[bold]{manifest.name}[/]  build {manifest.build_id[:12]}")
    learns = f"{options.loss} loss, {options.optimizer}" + (" with momentum" if options.momentum else "")
    console.print(
        f"target {options.target}, precision {options.precision}, {options.workers} workers, "
        + (learns if options.loss else "inference only")
    )
    console.print()
    console.print(_layers(manifest))
    console.print()
    console.print(_memory(manifest))
    console.print()
    programs = table("Program", "kernel calls>", "inputs", "outputs")
    for program in manifest.programs:
        shown = ", ".join(program.outputs[:3]) + (" …" if len(program.outputs) > 3 else "")
        programs.add_row(program.name, str(len(program.calls)), ", ".join(program.inputs), shown)
    console.print(programs)


def _layers(manifest: Manifest) -> Table:
    listing = table("layer", "operator", "output", "parameters>", "MAC forward>", "MAC backward>", "trains")
    for layer in manifest.layers:
        listing.add_row(
            layer.name,
            layer.op,
            "×".join(map(str, layer.output)),
            number(layer.parameters) if layer.parameters else "",
            number(layer.macs_forward) if layer.macs_forward else "",
            number(layer.macs_backward) if layer.macs_backward else "",
            "yes" if layer.trained else "",
        )
    listing.add_section()
    listing.add_row(
        "total",
        "",
        "",
        number(sum(layer.parameters for layer in manifest.layers)),
        number(sum(layer.macs_forward for layer in manifest.layers)),
        number(sum(layer.macs_backward for layer in manifest.layers)),
        "",
        style="bold",
    )
    return listing


def _memory(manifest: Manifest) -> Table:
    memory = manifest.memory
    listing = table("memory", "bytes>", "")
    for name, nbytes, meaning in (
        ("weights", memory.weights, "parameters and constants, FP32 masters included"),
        ("gradients", memory.gradients, "accumulators"),
        ("optimizer", memory.optimizer, "momentum, loss scale"),
        ("inputs", memory.inputs, "what the host writes"),
        ("scratch", memory.scratch, f"peak of activations and workspaces ({size(memory.workspace)} of them)"),
    ):
        listing.add_row(name, number(nbytes), meaning)
    total = manifest.data_size + manifest.arena_size
    available = (
        f"of {number(memory.available)} on the target" if memory.available else "no limit on the target"
    )
    listing.add_row("total", number(total), available, style="bold")
    return listing
