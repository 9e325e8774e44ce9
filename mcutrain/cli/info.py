"""``mcutrain info``: what is in a build."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from mcutrain.build import Build
from mcutrain.cli.console import number, output, print_json, size, table
from mcutrain.cli.options import build_argument, json_option, open_build
from mcutrain.errors import StoreError
from mcutrain.logstore import LogCopy
from mcutrain.manifest import CallEntry, Manifest, TileEntry
from mcutrain.runlog import COPY, REFERENCE_COPY
from mcutrain.targets import find_target
from mcutrain.words import counted


@click.command("info", short_help="Show a BUILD: layers, memory, tiles, its run log.")
@build_argument
@click.option(
    "--tiles",
    is_flag=True,
    help="Show how kernel calls go through L1: tiles, buffers, order, cycles expected and what bounds them.",
)
@click.option(
    "--log",
    "show_log",
    is_flag=True,
    help="Show the logged runs of its device and what was forgotten; with --json also the samples' hashes, "
    "in the order of the data.",
)
@click.option("--reference", is_flag=True, help="With --log: the runs of the NumPy reference.")
@json_option
def command(build: Path, tiles: bool, show_log: bool, reference: bool, as_json: bool) -> None:
    """Show a BUILD: layers, shapes, multiply-accumulates, memory map, what trains."""
    opened = open_build(build)
    manifest = opened.manifest
    if show_log:
        _log(opened, reference, as_json)
        return
    if tiles:
        _tiles(manifest, as_json)
        return
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
        f"target {options.target}, precision {options.precision}, {counted(options.workers, 'worker')}, "
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


def _log(build: Build, reference: bool, as_json: bool) -> None:
    """The run log, from its copy in the build directory."""
    path = build.state_folder / (REFERENCE_COPY if reference else COPY)
    if not path.exists():
        raise StoreError("this build has no run log", "train it with --run")
    log = LogCopy.read(path)
    if as_json:
        print_json(log.as_json())
        return
    gone: dict[str, int] = {}
    for entry in log.forgotten:
        gone[entry.hash] = max(entry.through, gone.get(entry.hash, 0))
    runs = table("run>", "name", "status", "steps>", "samples>", "forgotten>", "options", "weights after")
    for run in log.runs:
        options = ", ".join(f"{name} {value}" for name, value in run.options().items())
        forgotten = sum(gone.get(sample.hex(), 0) >= run.number for sample in run.hashes)
        steps = f"{number(run.done)} of {number(run.steps)}"
        count = number(len(run.hashes))
        row = (str(run.number), run.name, run.status, steps, count, number(forgotten), options)
        runs.add_row(*map(escape, row), run.weights[:16])
    output().print(runs)
    if log.requests:
        requests = table("request>", "method", "samples>", "status", "weights before", "after")
        for asked in log.requests:
            told = (str(asked.number), asked.method, number(asked.samples), asked.status)
            requests.add_row(*map(escape, told), asked.before[:16], asked.after[:16])
        output().print()
        output().print(requests)


def _tiles(manifest: Manifest, as_json: bool) -> None:
    """The tiles of every call; one that several Programs make alike is shown for the first."""
    fast = find_target(manifest.options.target).fast_memory
    shown: dict[tuple[str, TileEntry], tuple[str, CallEntry]] = {}
    for program in manifest.programs:
        for call in program.calls:
            if call.tile is not None:
                shown.setdefault((call.node, call.tile), (program.name, call))
    if as_json:
        print_json(
            {
                "l1": asdict(fast) if fast else None,
                "calls": [
                    {"program": program, "layer": call.node, "kernel": call.kernel, **asdict(tile)}
                    for (_, tile), (program, call) in shown.items()
                ],
            }
        )
        return
    console = output()
    if fast is None:
        console.print(f"target {manifest.options.target} has no scratch-pad: kernels have no tiles")
        return
    console.print(
        f"[bold]{manifest.name}[/]  build {manifest.build_id[:12]}, target {manifest.options.target}: "
        f"{number(fast.usable)} of {number(fast.size)} bytes of {fast.name} are the kernels'"
    )
    listing = table(
        "Program", "layer", "tile>", "bytes>", "buffers", "order", "cycles>", "MAC/cycle>", "bound"
    )
    for (layer, tile), (name, call) in shown.items():
        if not tile.rows:
            listing.add_row(name, layer, "", "", f"works from {_memory_name(manifest)}", "", "", "", "")
            continue
        listing.add_row(
            name,
            layer,
            f"{tile.rows} × {tile.columns}" + ("*" if tile.asked else ""),
            number(tile.l1),
            tile.buffers,
            tile.order,
            number(tile.cycles),
            f"{call.macs / tile.cycles:.2f}" if call.macs else "",
            tile.bound,
        )
    console.print(listing)
    console.print("tile: rows × columns or channels, * as asked for; cycles: as the cost model expects them")


def _memory_name(manifest: Manifest) -> str:
    return find_target(manifest.options.target).memory.name


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
        ("optimizer", memory.optimizer, "momentum, loss scale, what unlearning keeps"),
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
