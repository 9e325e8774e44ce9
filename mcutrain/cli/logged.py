"""``mcutrain train --run``: the options of a logged run, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mcutrain.cli.console import errors, size
from mcutrain.errors import OptionError

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.events import Training
    from mcutrain.learning import Learner
    from mcutrain.runlog import RunLog

Command = TypeVar("Command", bound=Callable[..., Any])
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _bytes(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, possibly with k, M or G behind it."""
    if value is None:
        return None
    text = value.strip().lower()
    number, unit = (text[:-1], _UNITS[text[-1]]) if text and text[-1] in _UNITS else (text, 1)
    if not number.isdigit():
        raise click.BadParameter(f"'{value}' is no number of bytes: give 500000, 500k or 2M")
    return int(number) * unit


def run_options(command: Command) -> Command:
    """``--run`` and what goes with it."""
    for option in (
        click.option(
            "--allow-forgotten", is_flag=True, help="With --run: train samples that were forgotten before."
        ),
        click.option(
            "--snapshot-budget",
            metavar="BYTES",
            callback=_bytes,
            help="With --run: flash that snapshots may take (k, M); older ones are thinned out. "
            "Default: a third of the flash, or what an earlier run was given.",
        ),
        click.option("--resume", is_flag=True, help="With --run: go on where that run was interrupted."),
        click.option(
            "--run",
            "run_name",
            metavar="NAME",
            help="Log this run on the device under a new name, and keep its state there.",
        ),
    ):
        command = option(command)
    return command


def _refuse(weights: bool) -> None:
    if weights:
        raise OptionError(
            "this device has a logged state, which --weights would replace",
            "leave out --weights, or compile the model into a new directory",
        )


@dataclass
class Logged:
    """A run that is logged."""

    name: str
    resume: bool
    budget: int | None
    allow_forgotten: bool
    weights: bool
    _log: RunLog | None = field(default=None, repr=False)

    @classmethod
    def check(
        cls,
        name: str | None,
        keep: str | None,
        resume: bool,
        budget: int | None,
        allow_forgotten: bool,
        weights: Path | None,
    ) -> Logged | None:
        """The options together; None without ``--run``.  Raises OptionError."""
        if name is None:
            if resume or budget is not None or allow_forgotten:
                raise OptionError(
                    "--resume, --snapshot-budget and --allow-forgotten are for logged runs", "give --run NAME"
                )
            return None
        if not name or len(name) > 200 or not name.isprintable():
            raise OptionError(f"'{name[:40]}' is no name for a run", "give 1 to 200 printable characters")
        if keep == "best":
            raise OptionError(
                "a logged run keeps its last epoch: a choice by score depends on samples to be forgotten",
                "give --keep last, or fewer --epochs",
            )
        return cls(name, resume, budget, allow_forgotten, weights is not None)

    def open(self, build: Build, learner: Learner) -> None:
        """Open the device's log and put the device into the state it keeps; raises StoreError."""
        from mcutrain.runlog import RunLog

        self._log = log = RunLog.open(build, learner)
        for message in log.messages:
            errors().print(message)
        _refuse(self.weights and "state" in log.store.entries())
        log.restore()

    def train(self, x: Any, y: Any, **options: Any) -> Training:
        assert self._log is not None
        return self._log.record_run(
            self.name,
            x,
            y,
            budget=self.budget,
            resume=self.resume,
            allow_forgotten=self.allow_forgotten,
            **options,
        )

    def summary(self) -> str:
        """What the device's log holds now."""
        assert self._log is not None
        log = self._log
        snapshots = log.snapshots()
        taken = size(len(snapshots) * log.snapshot_size())
        return (
            f"run '{self.name}' is number {log.runs[-1].number} of the device's log; "
            f"weights {log.runs[-1].weights[:16]}…; "
            f"{'snapshots before runs' if len(snapshots) > 1 else 'snapshot before run'} "
            f"{', '.join(map(str, snapshots))} ({taken})"
        )

    def explain(self) -> None:
        """Say what a run that was cut off has left."""
        assert self._log is not None
        run = self._log.runs[-1] if self._log.runs else None
        if run is not None and run.name == self.name and run.status == "interrupted":
            errors().print(
                f"run '{run.name}' is kept up to step {run.done} of {run.steps}; --resume goes on from there"
            )
        else:
            errors().print("the device is as it was before the run")
