"""``mcutrain unlearn``: forget samples on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from mcutrain.cli import unlearn_text as text
from mcutrain.cli.console import print_json, progress
from mcutrain.cli.options import (
    check_output,
    connect,
    executor_options,
    json_option,
    limit_option,
    open_build,
    open_data,
)
from mcutrain.errors import OptionError
from mcutrain.unlearning import Labelled, Task, methods, parse_method

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.executor import Array
    from mcutrain.learning import Learner

_PAIR = "an .npz file whose x_train, y_train (or x_test, y_test) are the samples"


@click.command("unlearn")
@click.argument("build", type=click.Path(path_type=Path), required=False)
@click.option(
    "--method", "method_name", metavar="M[:VARIANT]", help="Method, see --list; without a variant its first."
)
@click.option(
    "--forget",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Forget training samples: a text file with one row number a line.",
)
@click.option("--forget-class", type=click.IntRange(0), metavar="C", help="Forget a class.")
@click.option("--forget-group", metavar="G", help="Forget a subject or speaker, named in group_train.")
@click.option(
    "--data",
    metavar="FILE|digits",
    help="What the model was trained on: an .npz file as for `mcutrain train` (optional group_train), "
    "or 'digits' for scikit-learn's.",
)
@click.option(
    "--retain",
    default="rest",
    show_default=True,
    metavar="FILE|rest|none",
    help=f"Training samples to keep: the rest of the data's, none, or {_PAIR}.",
)
@click.option("--guard", metavar="FILE", help=f"64 to 256 retained samples that must not suffer: {_PAIR}.")
@click.option(
    "--validation",
    metavar="FILE",
    help=f"Samples that were never trained (default: the data's test part): {_PAIR}.",
)
@click.option("-O", "options", multiple=True, metavar="NAME=VALUE", help="Option of the method, see --list.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Fixes all that is random."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The trained weights, sent to the device first: ONNX, or .npz of an earlier request.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the weights go: ONNX, or .npz with what a next request needs (default: unlearned.onnx in the "
    "build directory).",
)
@click.option("--cost", "only_cost", is_flag=True, help="Say what it would cost, and do nothing.")
@click.option(
    "--list", "listing", is_flag=True, help="List the methods; with --method, its variants and options."
)
@limit_option
@executor_options
@json_option
def command(
    build: Path | None,
    method_name: str | None,
    forget: Path | None,
    forget_class: int | None,
    forget_group: str | None,
    data: str | None,
    retain: str,
    guard: str | None,
    validation: str | None,
    options: tuple[str, ...],
    seed: int,
    weights: Path | None,
    out: Path | None,
    only_cost: bool,
    listing: bool,
    limit: int | None,
    port: str | None,
    workers: int | None,
    reference: bool,
    as_json: bool,
) -> int:
    """Make the network of a BUILD forget samples, on the device.

    Says what that costs, does it, and shows what came of it and what that is worth. The weights
    are written as `mcutrain train` does; they stay as they were when the goal is missed, and
    after Ctrl-C. Whether a model has really forgotten is for `mcutrain evaluate` to say.
    """
    if listing:
        return text.print_list([parse_method(method_name)[0]] if method_name else methods(), build, as_json)
    if build is None or data is None or method_name is None:
        raise OptionError(
            "what shall be forgotten, and how?", "give BUILD, --data and --method (--list shows the methods)"
        )
    method, variant = parse_method(method_name)
    opened = open_build(build)
    out = check_output(out or build / "unlearned.onnx")
    asked = _Request.read(opened, data, limit, forget, forget_class, forget_group, retain, guard, validation)
    start = _read_start(weights, opened)
    with connect(opened, port, workers, reference) as learner:
        if start is not None:
            learner.load(start[0])
            learner.executor.write(start[1])
        task = asked.task(learner, opened, variant, options, seed)
        method.check_build(task)
        cost = text.cost(method, task)
        if not as_json:
            text.print_cost(method, task, cost, opened)
        if only_cost:
            if as_json:
                print_json(cost.as_json())
            return 0
        with progress("note") as bar:
            shown = text.Bars(bar)
            before = shown.score(task, asked.tested)
            outcome = method.run(replace(task, on_event=shown.update))
            after = shown.score(task, asked.tested) if outcome.changed else before
        if outcome.changed:
            _save(opened, learner, out)
    result = text.Result(method, outcome, cost, before, after, out)
    if as_json:
        print_json(result.as_json())
    else:
        result.show()
    return int(outcome.missed)


@dataclass(frozen=True)
class _Request:
    """The samples of a request, from files."""

    title: str
    forget: Labelled
    retain: Labelled | None
    guard: Labelled | None
    validation: Labelled | None
    #: what to score for people: the validation set, without a class that is to be forgotten
    tested: Labelled | None

    @classmethod
    def read(
        cls,
        build: Build,
        data: str,
        limit: int | None,
        file: Path | None,
        label: int | None,
        group: str | None,
        retain: str,
        guard: str | None,
        validation: str | None,
    ) -> _Request:
        from mcutrain.evaluation import requests as ask

        if sum(given is not None for given in (file, label, group)) != 1:
            raise OptionError(
                "what shall be forgotten?", "give one of --forget, --forget-class, --forget-group"
            )
        dataset, shape = open_data(build, data, limit)
        x, y = dataset.part("train", shape)
        if label is not None:
            if shape.loss == "mse":
                raise OptionError("a regression has no classes", "give --forget or --forget-group")
            request = ask.by_class(np.asarray(y), label)
        elif group is not None:
            request = ask.by_group(dataset.groups(), group)
        else:
            assert file is not None
            request = ask.by_rows(ask.read_rows(file), file.name)
        request.check(len(x))
        others = np.setdiff1d(np.arange(len(x)), request.rows)
        held_out = _pair(build, validation) if validation else None
        if held_out is None and "x_test" in dataset.arrays:
            held_out = dataset.part("test", shape)
        if retain == "rest":
            kept: Labelled | None = (x[others], y[others])
        else:
            kept = None if retain == "none" else _pair(build, retain)
        return cls(
            request.title,
            (x[request.rows], y[request.rows]),
            kept,
            _pair(build, guard) if guard else None,
            held_out,
            _without(held_out, label) if held_out is not None and label is not None else held_out,
        )

    def task(self, learner: Learner, build: Build, variant: str, options: tuple[str, ...], seed: int) -> Task:
        given = {}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise OptionError(f"-O {option} has no value", "give -O NAME=VALUE")
            given[name] = value
        return Task(
            learner,
            self.forget,
            self.retain,
            self.guard,
            self.validation,
            variant=variant,
            options=given,
            seed=seed,
            build=build,
        )


def _pair(build: Build, source: str) -> Labelled:
    dataset, shape = open_data(build, source)
    return dataset.part("train" if "x_train" in dataset.arrays else "test", shape)


def _without(pair: Labelled, label: int) -> Labelled | None:
    x, y = pair
    others = np.flatnonzero(np.asarray(y).ravel() != label)
    return (x[others], y[others]) if len(others) else None


def _read_start(path: Path | None, build: Build) -> tuple[dict[str, Array], dict[str, Array]] | None:
    from mcutrain.weights import read_state

    return read_state(path, build.manifest) if path else None


def _save(build: Build, learner: Learner, out: Path) -> None:
    from mcutrain.weights import memories, write_npz

    weights = learner.weights()
    if out.suffix != ".npz":
        build.save_onnx(out, weights)
        return
    names = [t.name for t in memories(build.manifest)]
    write_npz(out, {**weights, **learner.executor.read(names)})
