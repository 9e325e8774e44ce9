"""Forgetting one of 500 samples exactly: DS-CNN on the keyword samples, trained in 8 logged runs.

python benchmarks/rollback.py [--target native|qemu|gvsoc] [--epochs 2] [--of 8] [--samples 500] [--runs 1 4]

For a sample of each named run: what the request said it would cost, what it took, and whether the
weights are those of a device that was trained without the sample, step by step, by other code.
The device's time is that of its own clock: cycles on GVSoC, processor time of the native firmware.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import model, samples, table

import mcutrain
from mcutrain.build import Build
from mcutrain.learning import Learner
from mcutrain.requestlog import reset_optimizer
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.recheck import weights_hash
from mcutrain.unlearning.requests import forget
from mcutrain.work import Stopwatch

Parts = list[tuple[np.ndarray, np.ndarray]]


def options(run: int, epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "lr": 0.0005, "batch": 10, "seed": run}


def without(learner: Learner, parts: Parts, epochs: int, run: int, row: int) -> str:
    """Hash of the weights of the same runs that never see row ``row`` of run ``run``."""
    for number, (x, y) in enumerate(parts, 1):
        reset_optimizer(learner)
        hyper = options(number, epochs)
        rng = np.random.Generator(np.random.Philox(hyper["seed"]))
        held = learner.training_set(x, y)
        for _ in range(epochs):
            order = rng.permutation(len(x))
            for start in range(0, len(x), hyper["batch"]):
                batch = order[start : start + hyper["batch"]]
                chosen = [i for i in batch if (number, i) != (run, row)]
                if chosen:
                    learner.accumulate(*held, chosen)
                    learner.apply(hyper["lr"], len(chosen))
    return weights_hash(learner)


def measure(
    build: Build, parts: Parts, data: tuple[np.ndarray, np.ndarray], run: int, epochs: int
) -> list[Any]:
    """One row of the table: forget a sample in the middle of a run."""
    method = find_method("rollback")
    x, y = parts[run - 1]
    row = len(x) // 2
    with build.session() as learner:
        log = RunLog.open(build, learner)
        task = Task(learner, (x[row : row + 1], y[row : row + 1]), data, build=build, log=log)
        cost = method.cost(task)
        assert cost.seconds is not None
        watch = Stopwatch(learner.executor)
        outcome = forget(log, method, task).outcome
        taken = watch.span()
        found = log.weights_hash()
    assert outcome is not None
    fresh = build.session if build.target.name == "native" else build.reference
    with fresh(store=False) as other:
        equal = found == without(other, parts, epochs, run, row)
    streamed = outcome.streamed.gradient
    return [
        run,
        cost.streamed.gradient,
        streamed,
        *compared(cost.ticks, taken.ticks, cost.rate),
        *compared(cost.seconds, taken.seconds, 1),
        "yes" if equal else "NO",
    ]


def compared(told: float | None, taken: float, rate: int | None) -> list[str]:
    """Told, taken, and how far off: cycles, or seconds of a clock with a rate."""
    if told is None:
        return ["–", "–", ""]
    shown = [f"{value / rate:.2f} s" if rate else f"{value:,.0f}" for value in (told, taken)]
    return [*shown, f"{taken / told - 1:+.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="native")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--of", type=int, default=8, help="runs in all")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 8])
    arguments = parser.parse_args()
    loaded = samples("dscnn")
    x, y = (loaded[name][: arguments.samples] for name in ("x_train", "y_train"))
    order = np.random.default_rng(0).permutation(len(x))
    parts = [(x[rows], y[rows]) for rows in np.array_split(order, arguments.of)]
    with tempfile.TemporaryDirectory() as folder:
        build = mcutrain.compile(
            model("dscnn"),
            target=arguments.target,
            precision="mixed",
            loss="cross-entropy",
            out=Path(folder) / "build",
        )
        started = time.monotonic()
        with build.session(store=True) as learner:
            log = RunLog.open(build, learner)
            for number, part in enumerate(parts, 1):
                log.record_run(f"run {number}", *part, **options(number, arguments.epochs))
            print(
                f"{len(x)} samples, {arguments.of} runs of {arguments.epochs} epochs: "
                f"{time.monotonic() - started:.1f} s; "
                f"snapshots {log.snapshots()} of {log.snapshot_size():,} bytes"
            )
        kept = Path(folder) / "state"
        shutil.copytree(build.state_folder, kept)
        rows = []
        for run in arguments.runs:
            shutil.rmtree(build.state_folder)
            shutil.copytree(kept, build.state_folder)
            (build.directory / "certificates.jsonl").unlink(missing_ok=True)
            rows.append(measure(build, parts, (x, y), run, arguments.epochs))
        head = [
            "sample of run",
            "samples told",
            "trained",
            "device told",
            "taken",
            "",
            "in all told",
            "taken",
            "",
        ]
        head.append("bits equal")
        table(head, rows)


if __name__ == "__main__":
    main()
