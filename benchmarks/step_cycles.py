"""Cycles of whole training steps on GVSoC's pulp-open, batch 1, by Program, layer and direction.

    python benchmarks/step_cycles.py [--models …] [--workers 8 1] [--top 10] [--folder FOLDER]

A step is everything from one sample to the next: forward, loss, backward, update, which clears the gradients.
It is run warm, after one that is discarded: once as it is, for the cycles of
the whole, and once more with every kernel call counted.  FOLDER gets the JSON
and SVG of `mcutrain profile` for the most workers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from common import LOSSES, MODELS, model, samples, table

import mcutrain
from mcutrain.device.profile import run_counted
from mcutrain.device.session import Session
from mcutrain.errors import McutrainError, MemoryLimitError, OptionError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest
from mcutrain.profiling import Profile, Row, generated_inputs, profile, programs_of, timeline
from mcutrain.verification import make_batches

TARGET = "gvsoc"
#: Multiply-accumulates a cycle that four FPUs with two lanes can do.
LIMIT = 8
#: Models whose gradients have no room update their weights immediately.
IMMEDIATE = ("autoencoder",)


def batch_of(name: str, manifest: Manifest) -> dict[str, Array]:
    """Inputs of a step on the model's first training sample."""
    data = samples(name)
    (batch,) = make_batches(manifest, data["x_train"][:1], data["y_train"][:1], 1)
    return batch


def measure(name: str, build: mcutrain.Build, workers: int, folder: Path | None) -> Profile:
    """Profile one step."""
    with build.session(workers=workers) as learner:
        assert isinstance(learner.executor, Session)
        measured = profile(learner.executor, "step", batch_of(name, build.manifest))
    if folder is not None:
        (folder / f"{name}-{workers}.json").write_text(json.dumps(measured.as_json(), indent=1), "utf-8")
        (folder / f"{name}-{workers}.svg").write_text(timeline(measured), "utf-8")
    return measured


def cycles(name: str, build: mcutrain.Build, workers: int) -> int:
    """Cycles of the second of two steps, kernel calls not counted."""
    names = programs_of(build.manifest, "step")
    inputs = {**generated_inputs(build.manifest, names), **batch_of(name, build.manifest)}
    with build.session(workers=workers) as learner:
        session = learner.executor
        assert isinstance(session, Session)
        for _ in range(2):
            total = 0
            for program in names:
                own = {key: inputs[key] for key in build.manifest.program(program).inputs}
                total += run_counted(session, program, own, each_call=False).duration
    return total


def by_direction(found: dict[str, Profile]) -> None:
    """What the kernel calls are for, a pair of columns for each model."""
    sums = {name: {row.direction: row for row in p.by_direction()} for name, p in found.items()}
    directions = {direction: 0.0 for rows in sums.values() for direction in rows}
    for direction in directions:
        directions[direction] = sum(rows[direction].duration for rows in sums.values() if direction in rows)
    listing = []
    for direction in sorted(directions, key=lambda d: -directions[d]):
        cells = [direction]
        for rows in sums.values():
            row = rows.get(direction)
            cells.append(f"{row.duration:,.0f}" if row else "")
            cells.append(f"{row.macs_per_unit:.2f}" if row and row.macs else "")
        listing.append(cells)
    table(["", *(head for name in sums for head in (name, "MAC/cycle"))], listing)


def lost(row: Row) -> float:
    """Cycles above those that the machine's limit allows for the multiply-accumulates."""
    return row.duration - row.macs / LIMIT


def offenders(found: dict[str, Profile], top: int) -> None:
    """The rows with most cycles above the limit, and how their workers' time divides."""
    shares = ("instructions", "fpu_stalls", "dma_wait", "fetch_stalls", "barrier", "idle", "other_stalls")
    heads = ("instr.", "FPU", "DMA", "i-cache", "barrier", "idle", "other")
    listing = []
    for name, measured in found.items():
        for row in sorted(measured.rows(), key=lost, reverse=True)[:top]:
            listing.append(
                [
                    name,
                    f"{row.layer or row.program} {row.direction}",
                    f"{row.duration:,.0f}",
                    f"{row.macs_per_unit:.2f}" if row.macs else "",
                    f"{lost(row):,.0f}",
                    *(f"{100 * (row.share(share) or 0.0):.0f}" for share in shares),
                ]
            )
    table(["model", "layer", "cycles", "MAC/cycle", f"above MAC/{LIMIT}", *heads], listing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--precision", default="mixed")
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--top", type=int, default=10, help="rows by layer for each model")
    parser.add_argument("--folder", type=Path, help="where JSON and SVG go")
    args = parser.parse_args()
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
    most = max(args.workers)
    rows: list[list[object]] = []
    found: dict[str, Profile] = {}
    for name in args.models:
        try:
            build = mcutrain.compile(
                model(name),
                target=TARGET,
                precision=args.precision,
                loss=LOSSES[name],
                immediate=name in IMMEDIATE,
            )
        except (MemoryLimitError, OptionError) as error:
            print(f"{name} is skipped: {error}", file=sys.stderr, flush=True)
            continue
        found[name] = measure(name, build, most, args.folder)
        macs = found[name].macs
        for workers in sorted(args.workers, reverse=True):
            took = found[name].duration if workers == most else cycles(name, build, workers)
            faster = "" if workers == most else f"{took / found[name].duration:.2f}"
            rows.append([name, workers, f"{took:,.0f}", f"{macs:,}", f"{macs / took:.2f}", faster])
            print(*rows[-1], file=sys.stderr, flush=True)
    table(["model", "workers", "cycles a step", "MAC", "MAC/cycle", f"speed-up to {most} workers"], rows)
    print()
    by_direction(found)
    print()
    offenders(found, args.top)


if __name__ == "__main__":
    try:
        main()
    except McutrainError as error:
        raise SystemExit(f"error: {error}") from None
