"""``mcutrain profile``: what each kernel call of a training step takes."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from mcutrain.cli.console import number, output, progress, table
from mcutrain.cli.options import (
    build_argument,
    check_output,
    connect,
    open_build,
    open_data,
    part_option,
    port_option,
    write_output,
)
from mcutrain.data import Part
from mcutrain.device.session import Session
from mcutrain.executor import Array
from mcutrain.profiling import Profile, Row, profile, programs_of, timeline
from mcutrain.verification import make_batches
from mcutrain.words import counted

#: Columns of what workers count: field of a row, heading.
_SHARES = (
    ("instructions", "instr"),
    ("fpu_stalls", "FPU"),
    ("dma_wait", "DMA"),
    ("fetch_stalls", "i-cache"),
    ("load_stalls", "load"),
    ("barrier", "barrier"),
    ("idle", "idle"),
    ("other_stalls", "other"),
)


@click.command("profile", short_help="Show where the time of a training step goes.")
@build_argument
@click.option(
    "--program",
    default="step",
    show_default=True,
    help="A Program of the build, for example train_step, infer or apply; or step: all of a training step.",
)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs to take the mean of, after one that is discarded.",
)
@click.option(
    "--data", metavar="FILE|digits", help="Take the first sample of these data instead of a random one."
)
@part_option("train")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show only the N rows that take longest.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write everything as JSON."
)
@click.option(
    "--svg",
    "svg_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw a timeline of cores and DMA.",
)
@port_option
@click.option(
    "--workers", type=click.IntRange(1, 8), metavar="1-8", help="Cores to use (default: as compiled)."
)
def command(
    build: Path,
    program: str,
    runs: int,
    data: str | None,
    part: Part,
    top: int | None,
    json_path: Path | None,
    svg_path: Path | None,
    port: str | None,
    workers: int | None,
) -> None:
    """Show what each layer and direction of a training step takes on a device.

    A row is the kernel calls of one layer and direction.  The columns with %
    divide the workers' time: instructions; stalls on a floating-point unit
    that another core uses, on DMA transfers, on the instruction cache, on a
    value just loaded; waiting at barriers in the kernel, and before it begins
    or until the others end; other stalls are memory beyond L1, jumps, division.

    Target gvsoc counts cycles of its model of PULP.  Other targets tell how
    long this computer takes, which is no measure of the hardware.  Weights and
    state are put back afterwards.
    """
    opened = open_build(build)
    manifest = opened.manifest
    for path in (json_path, svg_path):
        if path is not None:
            check_output(path)
    if program == "step" and manifest.options.loss is None:
        program = "infer"
    names = programs_of(manifest, program)
    inputs: dict[str, Array] = {}
    if data is not None:
        dataset, shape = open_data(opened, data, limit=manifest.tensor("input").shape[0])
        if manifest.options.loss is None:
            (inputs,) = make_batches(manifest, dataset.samples(part, shape), None, 1)
        else:
            (inputs,) = make_batches(manifest, *dataset.part(part, shape), 1)
    with connect(opened, port, workers) as learner, progress() as bar:
        session = learner.executor
        assert isinstance(session, Session)
        task = bar.add_task("connecting", total=None)
        session.progress = lambda what, done, total: bar.update(task, completed=done, total=total)
        measured = profile(
            session,
            program,
            inputs,
            runs,
            on_run=lambda name, done, total: bar.update(
                task, description=f"run {done + 1}/{total} {name}", completed=0, total=len(names)
            ),
        )
    if json_path is not None:
        write_output(json_path, json.dumps(measured.as_json(), indent=1) + "\n")
    if svg_path is not None:
        write_output(svg_path, timeline(measured))
    print_profile(measured, top)


def print_profile(measured: Profile, top: int | None = None) -> None:
    """The tables on standard output."""
    console = output()
    console.print(
        f"[bold]{measured.build}[/]  build {measured.build_id[:12]}, target {measured.target}, "
        f"precision {measured.precision}, {counted(measured.workers, 'worker')}"
    )
    console.print(f"unit: {measured.unit}, {measured.meaning}")
    rows = measured.rows()
    if top is not None:
        rows = sorted(rows, key=lambda row: -row.duration)[:top]
    console.print()
    console.print(_listing(measured, rows))
    console.print()
    console.print(_listing(measured, measured.by_direction(), layers=False))
    console.print()
    console.print(_programs(measured))


def _listing(measured: Profile, rows: list[Row], layers: bool = True) -> Table:
    shares = [
        (name, heading) for name, heading in _SHARES if any(row.share(name) is not None for row in rows)
    ]
    several = len(measured.programs) > 1
    listing = table(
        *(["Program"] if several else []),
        *(["layer"] if layers else []),
        "direction",
        "calls>",
        f"{measured.unit}>",
        "share>",
        "MAC>",
        f"MAC/{'cycle' if measured.unit == 'cycles' else measured.unit}>",
        *(f"{heading} %>" for _, heading in shares),
    )
    total = sum(program.duration_counted for program in measured.programs)
    for row in rows:
        listing.add_row(
            *([row.program] if several else []),
            *([row.layer] if layers else []),
            row.direction,
            str(row.calls),
            number(round(row.duration)),
            _percent(row.duration / total if total else 0.0),
            number(row.macs) if row.macs else "",
            f"{row.macs_per_unit:.2f}" if row.macs else "",
            *(_percent(row.share(name)) for name, _ in shares),
        )
    return listing


def _programs(measured: Profile) -> Table:
    per = f"MAC/{'cycle' if measured.unit == 'cycles' else measured.unit}>"
    listing = table(
        "Program",
        "calls>",
        f"{measured.unit}>",
        "share>",
        "MAC>",
        per,
        "between the calls>",
        "while its calls are counted>",
    )
    for program in measured.programs:
        listing.add_row(
            program.name,
            str(len(program.runs[-1])),
            number(round(program.duration)),
            _percent(program.duration / measured.duration if measured.duration else 0.0),
            number(program.macs) if program.macs else "",
            f"{program.macs / program.duration:.2f}" if program.macs and program.duration else "",
            number(round(program.between)),
            number(round(program.duration_counted)),
        )
    if len(measured.programs) > 1:
        listing.add_section()
        listing.add_row(
            "whole step",
            str(sum(len(program.runs[-1]) for program in measured.programs)),
            number(round(measured.duration)),
            "",
            number(measured.macs) if measured.macs else "",
            f"{measured.macs / measured.duration:.2f}" if measured.macs and measured.duration else "",
            number(round(sum(program.between for program in measured.programs))),
            number(round(sum(program.duration_counted for program in measured.programs))),
            style="bold",
        )
    return listing


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
