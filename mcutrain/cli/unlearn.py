"""``mcutrain unlearn``: forget samples on the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcutrain.cli import unlearn_text as text
from mcutrain.cli.console import errors, print_json, progress
from mcutrain.cli.options import (
    check_output,
    connect,
    executor_options,
    json_option,
    limit_option,
    open_build,
)
from mcutrain.cli.unlearn_request import Asked, open_log, run
from mcutrain.errors import OptionError
from mcutrain.unlearning import methods, parse_method

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
    help="Forget training samples: a text file with a row number, or a hash of the run log, in each line.",
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
    multiple=True,
    default=["rest"],
    show_default=True,
    metavar="FILE|rest|none",
    help=f"Training samples to keep: the rest of the data's, none, or {_PAIR}; may be repeated.",
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
    retain: tuple[str, ...],
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
    asked = Asked.read(opened, data, limit, forget, forget_class, forget_group)
    start = _read_start(weights, opened)
    with connect(opened, port, workers, reference) as learner:
        log = open_log(opened, learner, weights is not None)
        if start is not None:
            learner.load(start[0])
            learner.executor.write(start[1])
        sets = asked.sets(learner, log, retain, guard, validation)
        task = sets.task(learner, opened, log, variant, options, seed)
        method.check_build(task)
        if log is not None and not log.held(task.samples):
            return text.nothing_to_do(len(task.samples), as_json)
        cost = text.cost(method, task)
        if not as_json:
            text.print_cost(method, task, cost, opened)
        if only_cost:
            if as_json:
                print_json(cost.as_json())
            return 0
        with progress("note") as bar:
            shown = text.Bars(bar)
            watched = replace(task, on_event=shown.update)
            # a rollback scores the validation set itself
            tested = (
                None if method.history(variant) == "runs" and sets.tested is task.validation else sets.tested
            )
            before = shown.score(task, tested)
            try:
                done = run(method, watched)
            except KeyboardInterrupt:
                errors().print("the network is as it was before")
                raise
            after = shown.score(task, tested) if done.outcome.changed else before
            if tested is None:
                before, after = (
                    found.get("validation") for found in (done.outcome.before, done.outcome.after)
                )
        if done.outcome.changed:
            _save(opened, learner, out)
    result = text.Result(method, done, cost, before, after, out)
    if as_json:
        print_json(result.as_json())
    else:
        result.show()
    return int(done.outcome.missed)


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
