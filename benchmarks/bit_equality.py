"""Every tensor of whole training steps, device against reference, bit for bit.

    python benchmarks/bit_equality.py [--steps 10] [--models …] [--targets …] [--workers 1 2 4 8]
"""

from __future__ import annotations

import argparse
import time

from common import LOSSES, MODELS, model, samples, table

import mcutrain
from mcutrain.verification import verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--targets", nargs="+", default=["native", "qemu"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "mixed"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4, 8])
    args = parser.parse_args()
    rows = []
    for name in args.models:
        data = samples(name)
        x, y = data["x_train"][: args.steps], data["y_train"][: args.steps]
        for precision in args.precisions:
            for target in args.targets:
                for workers in args.workers:
                    build = mcutrain.compile(
                        model(name), target=target, precision=precision, loss=LOSSES[name], workers=workers
                    )
                    start = time.perf_counter()
                    with build.session() as session, build.reference() as reference:
                        report = verify(session, reference, x, y, steps=args.steps, lr=1e-4)
                    seconds = time.perf_counter() - start
                    result = "equal" if report.equal else f"DIFFERS: {report.difference}"
                    rows.append([name, precision, target, workers, report.tensors, result, f"{seconds:.1f} s"])
                    print("#", *rows[-1], flush=True)
    table(["model", "precision", "target", "workers", "tensors compared", "result", "time"], rows)
    if any(row[5] != "equal" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
