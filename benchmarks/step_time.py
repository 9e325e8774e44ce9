"""Seconds of `compile` and of one training step, on every backend.

    python benchmarks/step_time.py [--models …]

Steps are timed after one warm-up step: write the sample, forward, backward,
update, read the loss.  `compile` uses the object cache as it finds it.
"""

from __future__ import annotations

import argparse
import time

from common import LOSSES, MODELS, model, samples, table

import mcutrain


def step_seconds(learner: mcutrain.Learner, x, y, steps: int) -> float:  # type: ignore[no-untyped-def]
    learner.train(x[:1], y[:1], epochs=1, lr=1e-6)
    start = time.perf_counter()
    learner.train(x[:steps], y[:steps], epochs=1, lr=1e-6)
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--precision", default="mixed")
    args = parser.parse_args()
    rows = []
    for name in args.models:
        data = samples(name)
        row: list[object] = [name]
        for target in ("native", "qemu"):
            start = time.perf_counter()
            build = mcutrain.compile(model(name), target=target, precision=args.precision, loss=LOSSES[name])
            row.append(f"{time.perf_counter() - start:.2f}")
            with build.session() as session:
                steps = 20 if target == "native" else 3
                seconds = step_seconds(session, data["x_train"], data["y_train"], steps)
            row.append(f"{seconds:.3f}")
        with build.reference() as reference:
            row.append(f"{step_seconds(reference, data['x_train'], data['y_train'], 2):.2f}")
        rows.append(row)
    table(
        ["model", "compile native", "step native", "compile qemu", "step qemu", "step reference"],
        rows,
    )


if __name__ == "__main__":
    main()
