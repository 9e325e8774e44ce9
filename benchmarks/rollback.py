"""Forgetting one of 500 samples, trained in 8 logged runs, exactly: what it was to cost, and what it took.

python benchmarks/rollback.py [--model dscnn|digits] [--target native|qemu|gvsoc] [--epochs 2] [--of 8]
                              [--samples 500] [--runs 1 4 8] [--workers N] [--repeat 3]
                              [--folder FOLDER]

The model is the DS-CNN on keyword samples, or the CNN of examples/digits_cnn.py on scikit-learn's digits.
For a sample of each named run: what the request said it would cost, what it took, and whether the
weights are those of a device that was trained without the sample, step by step, by other code (of the
native target, whose bits are every target's).
The device's time is that of its own clock: cycles on GVSoC, processor time of the native firmware, whose
workers are by default one: how long several threads work depends on which of them share a processor when.
Each repetition trains all runs anew. FOLDER keeps the build and its trained state: called again with
it, the benchmark goes on from there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import model, samples, table

import mcutrain
from mcutrain import data
from mcutrain.build import Build
from mcutrain.learning import Learner
from mcutrain.requestlog import reset_optimizer
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Progress, Task, find_method
from mcutrain.unlearning.recheck import weights_hash
from mcutrain.unlearning.requests import forget
from mcutrain.work import Stopwatch

Parts = list[tuple[np.ndarray, np.ndarray]]
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BATCH, RATES = 10, {"dscnn": 0.0005, "digits": 0.005}
HEAD = ["sample of run", "samples told", "trained", "device told", "taken", "", "in all told", "taken", ""]


class Line:
    """A line on stderr that says how far a long piece of work is: rewritten, or in a file twice a minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._every = 0.2 if sys.stderr.isatty() else 30.0
        self._next = self._began + self._every
        self._shown = False

    def show(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + self._every, sys.stderr.isatty()
        start, end = ("\r\033[K", "") if self._shown else ("", "\n")
        text = f"{now - self._began:6.0f} s  {phase}: step {done} of {total}"
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self._shown = False


class Bench:
    """A model, its data in parts of one run each, and how they are trained."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder, self.line = arguments, folder, Line()
        self.path = model("dscnn")
        if arguments.model == "digits":
            sys.path.append(str(EXAMPLES))
            from digits_cnn import fresh_model

            self.path = folder / "digits_cnn.onnx"
            fresh_model(self.path)
        self.build = self.compiled(arguments.target)
        if arguments.model == "digits":
            shape = data.ModelShape.of(self.build.manifest)
            x, y = (np.asarray(part) for part in data.load("digits").part("train", shape))
        else:
            loaded = samples("dscnn")
            x, y = loaded["x_train"], loaded["y_train"]
        self.x, self.y = x[: arguments.samples], y[: arguments.samples]
        order = np.random.default_rng(0).permutation(len(self.x))
        self.parts: Parts = [(self.x[rows], self.y[rows]) for rows in np.array_split(order, arguments.of)]
        self._native: Build | None = None

    def compiled(self, target: str) -> Build:
        """The build for a target, the one in the folder where there is one."""
        folder = self.folder / target
        if (folder / "manifest.json").exists():
            return Build.open(folder)
        return mcutrain.compile(
            self.path,
            target=target,
            precision="mixed",
            loss="cross-entropy",
            workers=self.arguments.workers,
            out=folder,
        )

    def options(self, run: int) -> dict[str, Any]:
        rate = RATES[self.arguments.model]
        return {"epochs": self.arguments.epochs, "lr": rate, "batch": BATCH, "seed": run}

    def train(self) -> Path:
        """Train the runs that the state does not hold yet; where a copy of the state is."""
        kept = self.folder / f"trained-{self.build.target.name}"
        if kept.exists():
            return kept
        if self.arguments.folder is None:
            shutil.rmtree(self.build.state_folder, ignore_errors=True)
        started = time.monotonic()
        with self.build.session(store=True) as learner:
            log = RunLog.open(self.build, learner)
            for number, part in enumerate(self.parts, 1):
                name = f"run {number}"
                status = {run.name: run.status for run in log.runs}.get(name)
                if status != "complete":
                    options = {**self.options(number), "resume": status == "interrupted"}
                    log.record_run(name, *part, **options, on_event=self._noting(name))
            self.line.clear()
            print(
                f"{len(self.x)} samples, {len(self.parts)} runs of {self.arguments.epochs} epochs: "
                f"{time.monotonic() - started:.1f} s; "
                f"snapshots {log.snapshots()} of {log.snapshot_size():,} bytes",
                file=sys.stderr,
                flush=True,
            )
        shutil.copytree(self.build.state_folder, kept)
        return kept

    def _noting(self, phase: str) -> Callable[[Any], None]:
        done, of = 0, 0

        def note(event: Any) -> None:
            nonlocal done, of
            if hasattr(event, "step"):
                done, of = done + 1, event.steps * self.arguments.epochs
                self.line.show(phase, done, of)

        return note

    def forget(self, kept: Path, run: int) -> tuple[list[Any], list[float]]:
        """A row of the table, and how far off it was: forget a sample in the middle of a run."""
        shutil.rmtree(self.build.state_folder)
        shutil.copytree(kept, self.build.state_folder)
        (self.build.directory / "certificates.jsonl").unlink(missing_ok=True)
        method = find_method("rollback")
        x, y = self.parts[run - 1]
        row = len(x) // 2

        def note(event: Progress) -> None:
            self.line.show(f"sample of run {run}, {event.phase}", event.done, event.total)

        with self.build.session() as learner:
            log = RunLog.open(self.build, learner)
            task = Task(
                learner,
                (x[row : row + 1], y[row : row + 1]),
                (self.x, self.y),
                build=self.build,
                log=log,
                on_event=note,
            )
            cost = method.cost(task)
            assert cost.seconds is not None
            watch = Stopwatch(learner.executor)
            outcome = forget(log, method, task).outcome
            taken = watch.span()
            found = log.weights_hash()
        self.line.clear()
        assert outcome is not None
        off = [] if cost.ticks is None else [taken.ticks / cost.ticks - 1]
        off.append(taken.seconds / cost.seconds - 1)
        equal = found == self.without(run, row)
        cells = [run, cost.streamed.gradient, outcome.streamed.gradient]
        cells += compared(cost.ticks, taken.ticks, cost.rate) + compared(cost.seconds, taken.seconds, 1)
        return [*cells, "yes" if equal else "NO"], off

    def without(self, run: int, row: int) -> str:
        """Hash of the weights of the same runs that never see sample ``row`` of run ``run``."""
        self._native = self._native or self.compiled("native")
        with self._native.session(store=False) as learner:
            for number, (x, y) in enumerate(self.parts, 1):
                self._train_without(learner, x, y, number, row if number == run else -1)
            return weights_hash(learner)

    def _train_without(self, learner: Learner, x: np.ndarray, y: np.ndarray, number: int, row: int) -> None:
        reset_optimizer(learner)
        hyper = self.options(number)
        rng = np.random.Generator(np.random.Philox(hyper["seed"]))
        held = learner.training_set(x, y)
        for _ in range(hyper["epochs"]):
            order = rng.permutation(len(x))
            for start in range(0, len(x), BATCH):
                chosen = [i for i in order[start : start + BATCH] if i != row]
                if chosen:
                    learner.accumulate(*held, chosen)
                    learner.apply(hyper["lr"], len(chosen))


def compared(told: float | None, taken: float, rate: int | None) -> list[str]:
    """Told, taken, and how far off: cycles, or seconds of a clock with a rate."""
    if told is None:
        return ["–", "–", ""]
    shown = [f"{value / rate:.2f} s" if rate else f"{value:,.0f}" for value in (told, taken)]
    return [*shown, f"{taken / told - 1:+.1%}"]


def summary(name: str, values: Sequence[float]) -> str:
    """The worst and the middle one of deviations, and how many are within 5 %."""
    sizes = np.abs(values)
    within = int(np.count_nonzero(sizes <= 0.05))
    return (
        f"{name}: median {np.median(sizes):.1%}, worst {sizes.max():.1%}, {within} of {len(sizes)} within 5%"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(RATES), default="dscnn")
    parser.add_argument("--target", default="native")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--of", type=int, default=8, help="runs in all")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--workers", type=int, help="by default as many as the target has, of native 1")
    parser.add_argument("--repeat", type=int, help="by default 3 where the clock is one of time, else 1")
    parser.add_argument("--folder", type=Path, help="keeps build and trained state")
    arguments = parser.parse_args()
    if arguments.target == "native" and not arguments.workers:
        arguments.workers = 1
    repeat = arguments.repeat or (3 if arguments.target == "native" else 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(arguments, folder)
        off = []
        table([*HEAD, "bits equal"], [])
        for _ in range(repeat):
            kept = bench.train()
            for run in arguments.runs:
                cells, deviations = bench.forget(kept, run)
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
                off.append(deviations)
            if arguments.folder is None:
                shutil.rmtree(kept)
        names = ["device", "in all"] if len(off[0]) == 2 else ["in all"]
        columns = zip(*off, strict=True)
        print("\n" + "; ".join(summary(*pair) for pair in zip(names, columns, strict=True)))


if __name__ == "__main__":
    main()
