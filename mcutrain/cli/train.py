"""``mcutrain train``: train on the device, write the weights back into ONNX."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress
from rich.table import Table

from mcutrain.cli.console import errors, output, percent, print_json, progress, table
from mcutrain.cli.logged import Logged, run_options
from mcutrain.cli.options import (
    build_argument,
    check_output,
    connect,
    data_option,
    executor_options,
    json_option,
    limit_option,
    open_build,
    open_data,
    weights_option,
)
from mcutrain.errors import DivergedError
from mcutrain.events import EpochEvent, Evaluation, Event, StepEvent
from mcutrain.executor import Array

if TYPE_CHECKING:
    from mcutrain.learning import Learner


from mcutrain.weights import read_weights
from mcutrain.words import counted


@click.command("train")
@build_argument
@data_option
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="Passes over the data.")
@click.option("--lr", type=float, default=0.01, show_default=True, help="Learning rate.")
@click.option("--momentum", type=float, default=0.0, show_default=True, help="Needs a build with --momentum.")
@click.option("--weight-decay", type=float, default=0.0, show_default=True, help="L2 penalty.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Samples per update; the device takes them one by one and accumulates.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Order of the samples.")
@click.option(
    "--shuffle/--no-shuffle", default=True, show_default=True, help="Draw the order anew each epoch."
)
@click.option(
    "--validate/--no-validate",
    default=True,
    show_default=True,
    help="Score the test part, if the data has one, before training and after every epoch.",
)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    help="Whose epoch's weights to keep: the one with the best test accuracy (without a test part, "
    "the lowest training loss), which is the default, or the last, as a logged run does.",
)
@run_options
@weights_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the trained model goes (default: trained.onnx in the build directory).",
)
@limit_option
@executor_options
@json_option
def command(
    build: Path,
    data: str,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    batch: int,
    seed: int,
    shuffle: bool,
    validate: bool,
    keep: str | None,
    run_name: str | None,
    resume: bool,
    snapshot_budget: int | None,
    allow_forgotten: bool,
    weights: Path | None,
    out: Path | None,
    limit: int | None,
    port: str | None,
    workers: int | None,
    reference: bool,
    as_json: bool,
) -> None:
    """Train a BUILD on the device and write the trained ONNX model.

    Stop at any time with Ctrl-C: the weights kept so far are written.

    With --run the device keeps its state when it is switched off, and a log of
    what it was trained on, so that it can forget samples exactly (mcutrain
    unlearn): what trained it before is where the run begins.
    """
    logged = Logged.check(run_name, keep, resume, snapshot_budget, allow_forgotten, weights)
    opened = open_build(build)
    out = check_output(out or build / "trained.onnx")
    dataset, shape = open_data(opened, data, limit)
    x, y = dataset.part("train", shape)
    held_out = dataset.part("test", shape) if validate and "x_test" in dataset.arrays else None
    start = read_weights(weights, opened.manifest) if weights else None
    with ExitStack() as stack:
        store = True if logged else None
        learner = stack.enter_context(connect(opened, port, workers, reference, store))
        if logged:
            logged.open(opened, learner)
        if start is not None:
            learner.load(start)
        initial = learner.weights()
        run = _Run(learner, "last" if logged else keep or "best", epochs, quiet=as_json)
        try:
            with progress("loss") as bar:
                if held_out is not None:
                    run.before = _score(learner, held_out, bar)
                run.bar = bar
                train = logged.train if logged else learner.train
                train(
                    x,
                    y,
                    epochs=epochs,
                    lr=lr,
                    momentum=momentum,
                    weight_decay=weight_decay,
                    batch=batch,
                    seed=seed,
                    shuffle=shuffle,
                    validation=held_out,
                    on_event=run.on_event,
                )
        except (KeyboardInterrupt, DivergedError):
            if logged:
                logged.explain()
                raise
            # A device keeps what it has, so it gets the same weights as the file.
            learner.load(run.kept or initial)
            if run.kept is not None:
                opened.save_onnx(out, run.kept)
                errors().print(f"the weights of epoch {run.kept_epoch} are kept in {out}")
            else:
                errors().print("no epoch ended: the weights are those before training, no file is written")
            raise
        logged_as = logged.summary() if logged else ""
        if run.kept is not None and run.kept_epoch != epochs and not logged:
            learner.load(run.kept)
    opened.save_onnx(out, run.kept or {})
    if as_json:
        print_json(run.as_json(out))
    else:
        run.print_summary(out)
        if logged:
            output().print(logged_as, markup=False)


def _score(learner: Learner, held_out: Any, bar: Progress) -> Evaluation:
    task = bar.add_task("scoring", total=len(held_out[0]), loss="")
    try:
        return learner.evaluate(
            held_out[0], held_out[1], on_sample=lambda done, total: bar.update(task, completed=done)
        )
    finally:
        bar.remove_task(task)


@dataclass
class _Run:
    """What happened so far, and the weights to keep."""

    learner: Learner
    keep: str
    epochs: int
    quiet: bool
    bar: Progress | None = None
    before: Evaluation | None = None
    history: list[EpochEvent] = field(default_factory=list)
    kept: dict[str, Array] | None = None
    kept_epoch: int = 0
    _task: Any = None
    _best: tuple[float, float] = (0.0, 0.0)

    def on_event(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            self._on_step(event)
        else:
            self._on_epoch(event)

    def _on_step(self, event: StepEvent) -> None:
        assert self.bar is not None
        if self._task is None:
            self._task = self.bar.add_task("", total=event.steps, loss="")
        self.bar.update(
            self._task,
            description=f"epoch {event.epoch}/{self.epochs}",
            completed=event.step,
            loss=f"loss {event.loss:.4f}",
        )

    def _on_epoch(self, event: EpochEvent) -> None:
        self.history.append(event)
        checked = event.validation
        # Higher accuracy is better, then lower loss.
        accuracy = checked.accuracy if checked and checked.accuracy is not None else 0.0
        loss = checked.loss if checked and checked.loss is not None else event.loss
        rank = (accuracy, -loss)
        if self.kept is None or self.keep == "last" or rank > self._best:
            self.kept, self.kept_epoch, self._best = self.learner.weights(), event.epoch, rank
        if not self.quiet:
            line = f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.4f}"
            if checked is not None:
                line += f"  test {_describe(checked)}"
            if event.skipped:
                skipped = counted(event.skipped, "step")
                line += f"  ({skipped} skipped by loss scaling, scale {event.loss_scale:g})"
            output().print(line)

    def print_summary(self, out: Path) -> None:
        console = output()
        console.print()
        console.print(self._ratios())
        console.print()
        after = next(e.validation for e in self.history if e.epoch == self.kept_epoch)
        if self.before is not None and after is not None:
            console.print(f"test before: {_describe(self.before)}\ntest after:  {_describe(after)}")
            if (self.before.accuracy or 0.0) > (after.accuracy or 0.0):
                console.print("the model scored better before training: try a lower --lr or a larger --batch")
        console.print(f"[green]✓[/] {out}  (weights of epoch {self.kept_epoch})")

    def _ratios(self) -> Table:
        """Gradient norm over weight norm: a layer far above the others limits the rate of all."""
        listing = table("parameter", "gradient/weight, first epoch>", "last epoch>")
        first, last = self.history[0].ratios, self.history[-1].ratios
        for name, ratio in first.items():
            listing.add_row(name, _ratio(ratio), _ratio(last[name]))
        return listing

    def as_json(self, out: Path) -> dict[str, Any]:
        return {
            "out": str(out),
            "kept_epoch": self.kept_epoch,
            "before": _values(self.before),
            "epochs": [
                {
                    "epoch": event.epoch,
                    "loss": event.loss,
                    "test": _values(event.validation),
                    "skipped_steps": event.skipped,
                    "loss_scale": event.loss_scale,
                    "gradient_to_weight": event.ratios,
                }
                for event in self.history
            ],
        }


def _ratio(ratio: float) -> str:
    """A ratio for the table; fresh biases are all zero, and nothing compares with that."""
    return f"{ratio:.2e}" if ratio < 1e20 else "(zero weights)"


def _describe(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.accuracy is not None:
        parts.append(f"accuracy {percent(evaluation.accuracy)}")
    if evaluation.loss is not None:
        parts.append(f"loss {evaluation.loss:.4f}")
    return ", ".join(parts) + f" ({counted(evaluation.samples, 'sample')})"


def _values(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    return {"samples": evaluation.samples, "loss": evaluation.loss, "accuracy": evaluation.accuracy}
