"""``mcutrain infer``: run samples through the model on the device."""

from __future__ import annotations

import io
from pathlib import Path

import click
import numpy as np

from mcutrain.cli.console import output, print_json, table
from mcutrain.cli.options import (
    at_work,
    build_argument,
    check_output,
    data_option,
    executor_options,
    json_option,
    limit_option,
    open_build,
    open_data,
    part_option,
    weights_option,
    write_output,
)
from mcutrain.data import Part
from mcutrain.errors import DataError
from mcutrain.weights import read_weights

#: Samples that are listed; a file holds all of them.
_LISTED = 20


@click.command("infer", short_help="Run samples through a BUILD and show the outputs.")
@build_argument
@data_option
@part_option("test")
@click.option(
    "--index",
    "indices",
    type=click.IntRange(0),
    multiple=True,
    metavar="I",
    help="Number of a sample in that part, counted from 0; may be given again. Without it: all.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the outputs, float32 [n, …], to this .npy file."
)
@weights_option
@limit_option
@executor_options
@json_option
def command(
    build: Path,
    data: str,
    part: Part,
    indices: tuple[int, ...],
    out: Path | None,
    weights: Path | None,
    limit: int | None,
    port: str | None,
    workers: int | None,
    reference: bool,
    as_json: bool,
) -> None:
    """Run one sample, or many, through a BUILD and show the outputs."""
    opened = open_build(build)
    out = check_output(out) if out else None
    dataset, shape = open_data(opened, data, limit)
    samples = dataset.samples(part, shape)
    chosen = list(indices) or list(range(len(samples)))
    for index in chosen:
        if index >= len(samples):
            raise DataError(
                f"there is no sample {index} in the {part} part", f"it has 0 to {len(samples) - 1}"
            )
    start = read_weights(weights, opened.manifest) if weights else None
    batch = samples if not indices else samples[np.array(chosen)]
    with at_work(opened, start, port, workers, reference, "inferring") as (learner, step):
        outputs = learner.infer(batch, on_sample=step)
    if out:
        content = io.BytesIO()
        np.save(content, outputs, allow_pickle=False)
        write_output(out, content.getvalue())
    flat = outputs.reshape(len(outputs), -1)
    if as_json:
        print_json([{"sample": i, "output": row.tolist()} for i, row in zip(chosen, flat, strict=True)])
        return
    listing = table("sample>", "largest>", "value>", "outputs")
    for index, row in list(zip(chosen, flat, strict=True))[:_LISTED]:
        top = int(row.argmax())
        shown = " ".join(f"{value:.4g}" for value in row[:12]) + (" …" if row.size > 12 else "")
        listing.add_row(str(index), str(top), f"{row[top]:.4g}", shown)
    output().print(listing)
    if len(chosen) > _LISTED:
        output().print(f"… and {len(chosen) - _LISTED} more" + ("" if out else "; --out writes all of them"))
    if out:
        output().print(f"[green]✓[/] {out}  float32 {list(outputs.shape)}")
