"""``mcutrain eval``: loss and accuracy of a build on the device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcutrain.cli.console import output, percent, print_json
from mcutrain.cli.options import (
    at_work,
    build_argument,
    data_option,
    executor_options,
    json_option,
    limit_option,
    open_build,
    open_data,
    part_option,
    weights_option,
)
from mcutrain.data import Part
from mcutrain.weights import read_weights


@click.command("eval")
@build_argument
@data_option
@part_option("test")
@weights_option
@limit_option
@executor_options
@json_option
def command(
    build: Path,
    data: str,
    part: Part,
    weights: Path | None,
    limit: int | None,
    port: str | None,
    workers: int | None,
    reference: bool,
    as_json: bool,
) -> None:
    """Score a BUILD on labelled samples: loss and accuracy.

    Whether a model has forgotten something is for `mcutrain evaluate`.
    """
    opened = open_build(build)
    dataset, shape = open_data(opened, data, limit)
    x, y = dataset.part(part, shape)
    start = read_weights(weights, opened.manifest) if weights else None
    with at_work(opened, start, port, workers, reference, f"scoring the {part} part") as (learner, step):
        result = learner.evaluate(x, y, on_sample=step)
    if as_json:
        print_json(asdict(result))
        return
    if result.accuracy is not None:
        output().print(f"accuracy {percent(result.accuracy)}")
    if result.loss is not None:
        output().print(f"loss     {result.loss:.6f}")
    output().print(f"samples  {result.samples}")
