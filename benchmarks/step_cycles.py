"""Cycles of whole training steps on GVSoC's pulp-open, batch 1, by Program, layer and direction.

    python benchmarks/step_cycles.py [--models …] [--workers 8 1] [--top 10] [--folder FOLDER]

A step is everything from one sample to the next: clear the gradients, forward, loss, backward, update.
It is run warm, after one that is discarded: once as it is, for the cycles of
the whole, and once more with every kernel call counted.  FOLDER gets the JSON
and SVG of `mcutrain profile` for each run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import LOSSES, MODELS, model, samples, table

import mcutrain
from mcutrain.device.session import Session
from mcutrain.errors import McutrainError, MemoryLimitError, OptionError
from mcutrain.profiling import Profile, profile, timeline
from mcutrain.verification import make_batches

TARGET = "gvsoc"
#: Models whose gradients have no room update their weights immediately.
IMMEDIATE = ("autoencoder",)


def measure(name: str, precision: str, workers: int, folder: Path | None) -> Profile:
    """Profile one step on the model's first training sample."""
    data = samples(name)
    build = mcutrain.compile(
        model(name), target=TARGET, precision=precision, loss=LOSSES[name], immediate=name in IMMEDIATE
    )
    with build.session(workers=workers) as learner:
        assert isinstance(learner.executor, Session)
        (batch,) = make_batches(build.manifest, data["x_train"][:1], data["y_train"][:1], 1)
        measured = profile(learner.executor, "step", batch)
    if folder is not None:
        (folder / f"{name}-{workers}.json").write_text(json.dumps(measured.as_json(), indent=1), "utf-8")
        (folder / f"{name}-{workers}.svg").write_text(timeline(measured), "utf-8")
    return measured


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def details(name: str, measured: Profile, top: int) -> None:
    """The Programs, the directions and the rows that take longest."""
    total = measured.duration
    print(f"\n{name}, {measured.workers} workers\n")
    table(
        ["Program", "cycles", "share %", "between the calls"],
        [
            [p.name, f"{p.duration:,.0f}", f"{100 * p.duration / total:.1f}", f"{p.between:,.0f}"]
            for p in measured.programs
        ],
    )
    shares = ("instructions", "fpu_stalls", "dma_wait", "fetch_stalls", "barrier", "idle", "other_stalls")
    heads = [
        "cycles",
        "share %",
        "MAC/cycle",
        "instr %",
        "FPU %",
        "DMA %",
        "i-cache %",
        "barrier %",
        "idle %",
    ]
    rows = sorted(measured.rows(), key=lambda row: -row.duration)[:top]
    for title, found in (("direction", measured.by_direction()), ("layer", rows)):
        print()
        table(
            [title, *heads, "other %"],
            [
                [
                    f"{row.layer or row.program} {row.direction}",
                    f"{row.duration:,.0f}",
                    f"{100 * row.duration / total:.1f}",
                    f"{row.macs_per_unit:.2f}" if row.macs else "",
                    *(percent(row.share(share)) for share in shares[:-1]),
                    percent(row.other_stalls / row.worker_time if row.other_stalls is not None else None),
                ]
                for row in found
            ],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--precision", default="mixed")
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--top", type=int, default=10, help="rows of the listing by layer")
    parser.add_argument("--folder", type=Path, help="where JSON and SVG go")
    args = parser.parse_args()
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    found: list[tuple[str, Profile]] = []
    for name in args.models:
        cycles: dict[int, float] = {}
        for workers in args.workers:
            try:
                measured = measure(name, args.precision, workers, args.folder)
            except (MemoryLimitError, OptionError) as error:
                print(f"{name}: skipped: {error}", flush=True)
                break
            cycles[workers] = measured.duration
            found.append((name, measured))
            rows.append(
                [
                    name,
                    workers,
                    f"{measured.duration:,.0f}",
                    f"{measured.macs:,}",
                    f"{measured.macs / measured.duration:.2f}",
                    f"{cycles[workers] / cycles[max(cycles)]:.2f}",
                ]
            )
    table(
        ["model", "workers", "cycles a step", "MAC", "MAC/cycle", f"times {max(args.workers)} workers"], rows
    )
    for name, measured in found:
        if measured.workers == max(args.workers):
            details(name, measured, args.top)


if __name__ == "__main__":
    try:
        main()
    except McutrainError as error:
        raise SystemExit(f"error: {error}") from None
