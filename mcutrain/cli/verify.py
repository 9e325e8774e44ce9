"""``mcutrain verify``: the device against the NumPy reference, bit for bit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcutrain.cli.console import output, print_json, progress
from mcutrain.cli.options import (
    build_argument,
    connect,
    data_option,
    json_option,
    open_build,
    open_data,
    part_option,
    port_option,
)
from mcutrain.data import Part
from mcutrain.targets import find_target
from mcutrain.verification import Progress, Report, make_batches, verify
from mcutrain.words import counted


@click.command("verify")
@build_argument
@data_option
@part_option("train")
@click.option(
    "--steps", type=click.IntRange(1), default=1, show_default=True, help="Training steps to compare."
)
@click.option("--lr", type=float, default=0.01, show_default=True, help="Learning rate of the steps.")
@click.option("--momentum", type=float, default=0.0, show_default=True, help="Needs a build with --momentum.")
@click.option("--weight-decay", type=float, default=0.0, show_default=True, help="L2 penalty.")
@port_option
@click.option("--workers", type=click.IntRange(1, 8), metavar="1-8", help="Cores of a simulated device.")
@json_option
def command(
    build: Path,
    data: str,
    part: Part,
    steps: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    port: str | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Compare a BUILD on the device with the NumPy reference.

    Both run training steps kernel call by kernel call, and every tensor that a
    call writes must have the same bits; then the Programs of its unlearning
    methods, with inputs made for that.  Exit status 0: all equal; 1: not, and
    the first difference is shown.  The device gets its weights back.
    """
    opened = open_build(build)
    manifest = opened.manifest
    dataset, shape = open_data(opened, data, limit=steps * manifest.tensor("input").shape[0])
    if manifest.options.loss is None:
        batches = make_batches(manifest, dataset.samples(part, shape), None, steps)
    else:
        batches = make_batches(manifest, *dataset.part(part, shape), steps)
    with (
        connect(opened, port, workers, store=False) as device,
        opened.reference(store=False) as reference,
        progress("where") as bar,
    ):
        task = bar.add_task("verifying", total=None, where="")

        def show(done: Progress) -> None:
            total = done.steps * done.total
            bar.update(
                task,
                total=total,
                completed=(done.step - 1) * done.total + done.done,
                where=f"step {done.step}: {done.program} {done.node}",
            )

        report = verify(
            device.executor,
            reference.executor,
            manifest,
            batches,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            on_progress=show,
        )
    if as_json:
        print_json(
            {
                "equal": report.equal,
                "steps": report.steps,
                "calls": report.calls,
                "tensors": report.tensors,
                "elements": report.elements,
                "skipped_steps": report.skipped,
                "unlearning": report.unlearning,
                "accumulation": sorted(report.rules),
                "difference": asdict(report.difference) if report.difference else None,
            }
        )
    else:
        print_report(report, find_target(manifest.options.target).dot)
    return 0 if report.equal else 1


def print_report(report: Report, rule: str) -> None:
    """What was compared, by which ``rule`` of dot products, and the first difference."""
    compared = (
        f"{counted(report.tensors, 'tensor')}, {counted(report.elements, 'element')} of "
        f"{counted(report.calls, 'kernel call')}"
    )
    if not report.equal:
        output().print(f"[red]✗[/] not equal after {compared}", markup=True)
        output().print(f"  {report.difference}", markup=False)
        return
    output().print(f"[green]✓[/] {counted(report.steps, 'step')} bit-equal: {compared}")
    output().print(f"  accumulation: {', '.join(sorted(report.rules)) or 'none'}; dot product rule: {rule}")
    if report.unlearning:
        output().print(f"  unlearning: {', '.join(report.unlearning)}")
    if report.skipped:
        output().print(f"  {counted(report.skipped, 'step')} skipped by loss scaling, on both sides")
