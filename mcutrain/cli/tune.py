"""``mcutrain tune``: tiles measured, the quickest kept in a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcutrain.cli.console import number, output, percent, print_json, progress, table
from mcutrain.cli.options import check_output, json_option, open_build
from mcutrain.errors import OptionError
from mcutrain.manifest import Loss, Options, Precision
from mcutrain.targets import find_target


@click.command("tune", short_help="Measure tiles of L1 and keep the quickest in a file.")
@click.argument("subject", metavar="MODEL|BUILD", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File of tiles to write.")
@click.option("--target", metavar="NAME", help="For a MODEL: the board.  [default: gvsoc]")
@click.option(
    "--precision", type=click.Choice(["fp32", "mixed"]), help="For a MODEL: as in compile.  [default: mixed]"
)
@click.option("--loss", type=click.Choice(["cross-entropy", "mse"]), help="For a MODEL: as in compile.")
@click.option(
    "--candidates",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Tiles to measure for each kernel call, those the cost model thinks quickest.",
)
@json_option
def command(
    subject: Path,
    out: Path,
    target: str | None,
    precision: Precision | None,
    loss: Loss | None,
    candidates: int,
    as_json: bool,
) -> None:
    """Measure tiles on the target's simulator and keep the quickest in a file.

    MODEL|BUILD is an ONNX file or a build directory, whose options are used.
    `mcutrain compile --tiles` takes the file.  It is written after every
    call: the same command goes on where it was stopped.
    """
    from mcutrain.tuning import tune

    if subject.is_dir():
        if target or precision or loss:
            raise OptionError("a build has its target, precision and loss", "leave them out, or name a model")
        build = open_build(subject)
        model, options = build.model_path, build.manifest.options
    else:
        board = target or "gvsoc"
        workers = find_target(board).workers
        model = subject
        options = Options(target=board, precision=precision or "mixed", loss=loss, workers=workers)
    check_output(out)
    with progress("tile") as bar:
        task = bar.add_task(subject.name, total=None, tile="")
        tuned = tune(
            model,
            options,
            out,
            candidates=candidates,
            progress=lambda done, total, tile: bar.update(task, completed=done, total=total, tile=tile),
        )
    if as_json:
        print_json([asdict(group) for group in tuned])
        return
    before = sum(group.cycles_before * len(group.layers) for group in tuned)
    after = sum(group.cycles * len(group.layers) for group in tuned)
    listing = table("layers", "expected>", "tile>", "cycles>", "best tile>", "cycles>", "saved>")
    for group in tuned:
        listing.add_row(
            ", ".join(group.layers),
            number(group.expected),
            f"{group.before[0]} × {group.before[1]}",
            number(group.cycles_before),
            f"{group.best[0]} × {group.best[1]}",
            number(group.cycles),
            percent(1 - group.cycles / max(1, group.cycles_before)),
        )
    console = output()
    console.print(listing)
    console.print(f"{number(before)} cycles before, {number(after)} with {out}")
    console.print(f"next: mcutrain compile … --tiles {out}")
