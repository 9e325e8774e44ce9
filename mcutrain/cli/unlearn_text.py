"""What ``mcutrain unlearn`` says: the list of methods, costs, progress, results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress as Bar

from mcutrain.cli.console import number, output, percent, print_json, size, table
from mcutrain.cli.options import open_build
from mcutrain.cli.unlearn_request import Done
from mcutrain.events import Evaluation
from mcutrain.unlearning import HONESTY, Cost, Labelled, Method, Progress, Task
from mcutrain.unlearning.speed import measure_speed
from mcutrain.words import counted
from mcutrain.work import Span, work_of

# ---- the list


def print_list(known: Sequence[Method], build: Path | None, as_json: bool) -> int:
    """All methods, or variants and options of the only one; with a build, the memory they take there."""
    manifest = open_build(build).manifest if build else None
    memory = {m.name: m.memory(manifest) if manifest else None for m in known}
    if as_json:
        print_json([{**_described(m), "bytes": memory[m.name]} for m in known])
        return 0
    console = output()
    rows = table("method", "honesty", "needs retained data", "memory", "cost")
    for m in known:
        nbytes = memory[m.name]
        words = m.memory_words if nbytes is None else size(nbytes)
        rows.add_row(m.name, m.honesty, m.needs_retain, words, m.cost_words)
    console.print(rows)
    for m in known:
        console.print(f"\n[bold]{m.name}[/]: {m.summary}")
        variants = table("variant", "what it does")
        for variant in m.variants:
            variants.add_row(f"  {m.name}:{variant.name}", variant.summary)
        console.print(variants)
        if len(known) == 1:
            options = table("option", "default>", "values", "help")
            for o in m.options:
                whose = f" ({', '.join(o.variants)})" if o.variants else ""
                default = "" if o.default is None else str(o.default).lower()
                options.add_row(f"  -O {o.name}", default, o.range, o.help + whose)
            console.print(options)
    console.print()
    for honesty in dict.fromkeys(m.honesty for m in known):
        console.print(f"[bold]{honesty}[/]: {HONESTY[honesty]}")
    if len(known) > 1:
        console.print("\nOptions of a method: mcutrain unlearn --list --method ssd")
    return 0


def _described(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "honesty": method.honesty,
        "needs_retain": method.needs_retain,
        "memory": method.memory_words,
        "cost": method.cost_words,
        "variants": [asdict(v) for v in method.variants],
        "options": [
            {"name": o.name, "default": o.default, "values": o.range, "help": o.help, "variants": o.variants}
            for o in method.options
        ],
    }


# ---- before


@dataclass(frozen=True)
class Told:
    """What a request will cost, as it is said beforehand."""

    cost: Cost
    #: of this computer
    seconds: float
    #: of the device's own clock, as of :class:`Cost`
    ticks: float | None = None
    rate: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self.cost),
            "seconds": round(self.seconds, 3),
            "ticks": None if self.ticks is None else round(self.ticks),
            "rate": self.rate,
        }

    def against(self, taken: Span) -> str:
        """``device 1.23 s told, 1.25 s taken (+1.6%)``, and the same of this computer."""
        words = []
        if self.ticks is not None:
            both = device_time(self.ticks, self.rate), device_time(taken.ticks, self.rate)
            words.append(f"device {both[0]} told, {both[1]} taken{_off(self.ticks, taken.ticks)}")
        both = duration(self.seconds), duration(taken.seconds)
        words.append(f"in all {both[0]} told, {both[1]} taken{_off(self.seconds, taken.seconds)}")
        return "; ".join(words)


def cost(method: Method, task: Task) -> Told:
    """What ``task`` will take at most, with times measured on the device."""
    expected = method.cost(task)
    if expected.seconds is not None:
        return Told(expected, expected.seconds, expected.ticks, expected.rate)
    span = measure_speed(task.learner, task.forget).span(expected)
    work = work_of(task.learner.executor)
    return Told(expected, span.seconds, span.ticks if work else None, work.rate if work else None)


def device_time(ticks: float, rate: int | None) -> str:
    """``1,234,567 cycles`` of a clock that counts those, else seconds."""
    return duration(ticks / rate) if rate else f"{number(round(ticks))} cycles"


def _off(told: float, taken: float) -> str:
    return f" ({100 * (taken / told - 1):+.1f}%)" if told else ""


def print_cost(method: Method, task: Task, told: Told, build: Any) -> None:
    console, streamed = output(), told.cost.streamed
    variant = f":{task.variant}" if len(method.variants) > 1 else ""
    most = "at most " if told.cost.bound else ""
    console.print(
        f"[bold]{method.name}{variant}[/] on {build.directory} ({build.manifest.options.target}), "
        f"forgetting {counted(len(task.samples) or len(task.forget[0]), 'sample')}"
    )
    console.print(
        f"cost: {most}{counted(streamed.gradient, 'sample')} forward and backward, "
        f"{number(streamed.inference)} forward only, {counted(told.cost.steps, 'optimizer step')}; "
        f"{most}about {duration(told.seconds)}"
    )
    if told.ticks is not None:
        console.print(f"of which the device itself works {most}{device_time(told.ticks, told.rate)}")


def duration(seconds: float) -> str:
    """``3.2 s``, ``4 min``, ``1.5 h``."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


# ---- meanwhile


class Bars:
    """Progress of a method, one line for the phase it is in."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: Any = None
        self._phase = ""

    def update(self, event: Progress) -> None:
        if event.phase != self._phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._phase = self._bar.add_task(event.phase, total=event.total, note=""), event.phase
        self._bar.update(self._task, completed=event.done, total=event.total, note=event.note)

    def score(self, task: Task, pair: Labelled | None) -> Evaluation | None:
        """The present weights on held-out samples."""
        if pair is None:
            return None
        return task.learner.evaluate(
            *pair,
            on_sample=lambda done, total: self.update(Progress("scoring held-out samples", done, total)),
        )


# ---- after

_OTHERS = "mcutrain unlearn --list [--method M]"


def nothing_to_do(samples: int, as_json: bool) -> int:
    """All that was asked for had been forgotten: a request may be repeated."""
    what = f"all {samples} samples were" if samples > 1 else "the sample was"
    stop = f"{what} forgotten already, nothing is done"
    if as_json:
        print_json({"changed": False, "missed": False, "out": None, "stop": stop})
    else:
        output().print(stop)
    return 0


@dataclass(frozen=True)
class Result:
    """What came of a request."""

    method: Method
    done: Done
    told: Told
    before: Evaluation | None
    after: Evaluation | None
    out: Path

    def show(self) -> None:
        console, outcome = output(), self.done.outcome
        rows = table("samples", "count>", "before>", "after>")
        for name in outcome.before:
            if outcome.before[name] is self.before:
                continue  # the held-out samples, shown below
            rows.add_row(name, *_scores(outcome.before[name], outcome.after[name]))
        if self.before is not None and self.after is not None:
            rows.add_row("held out", *_scores(self.before, self.after))
        console.print()
        console.print(rows)
        console.print()
        asked = {o.name for o in self.method.options} - {"target", "alpha", "damping"}
        found = outcome.parameters.items()
        chosen = {k: v for k, v in found if k not in asked and v is not None}
        if chosen:
            console.print("chosen: " + ", ".join(f"{k} {_value(v)}" for k, v in chosen.items()))
        streamed = outcome.streamed
        console.print(
            f"streamed: {counted(streamed.gradient, 'sample')} forward and backward, "
            f"{number(streamed.inference)} forward only, {number(outcome.steps)} optimizer steps"
        )
        console.print(self.told.against(self.done.taken))
        for fate in ("cleared", "recomputed", "kept"):
            names = [c.name for c in outcome.carriers if c.fate == fate]
            if names:
                console.print(f"{fate}: {', '.join(names)}")
        console.print(f"stopped: {outcome.stop}", markup=False)
        if outcome.changed:
            console.print(f"[bold]{outcome.honesty}[/]: {HONESTY[outcome.honesty]}")
            console.print(f"[green]✓[/] {self.out}")
            if self.done.certificate is not None:
                counter = self.done.certificate.record.counter
                console.print(f"[green]✓[/] certificate {counter} in certificates.jsonl of the build")
        else:
            console.print("the weights are those from before; no file is written")
            if outcome.missed:
                console.print(f"another method, or its options, may reach the goal: {_OTHERS}", markup=False)

    def as_json(self) -> dict[str, Any]:
        outcome, certificate = self.done.outcome, self.done.certificate
        return {
            "out": str(self.out) if outcome.changed else None,
            "certificate": certificate.hash if certificate else None,
            "honesty_words": HONESTY[outcome.honesty],
            "cost": self.told.as_json(),
            "taken": {
                "seconds": round(self.done.taken.seconds, 3),
                "ticks": None if self.told.ticks is None else round(self.done.taken.ticks),
            },
            "held_out": {
                "before": asdict(self.before) if self.before else None,
                "after": asdict(self.after) if self.after else None,
            },
            **outcome.as_json(),
        }


def _scores(before: Evaluation, after: Evaluation) -> list[str]:
    return [number(before.samples), _score(before), _score(after)]


def _score(scored: Evaluation) -> str:
    loss = "" if scored.loss is None else f"loss {scored.loss:.4f}"
    return loss if scored.accuracy is None else f"{percent(scored.accuracy)}  {loss}".rstrip()


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
