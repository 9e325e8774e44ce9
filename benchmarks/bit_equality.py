"""Every tensor of whole training steps, device against reference, bit for bit.

python benchmarks/bit_equality.py [--steps 10] [--models …] [--targets …] [--workers 1 2 4 8]
"""

from __future__ import annotations

import argparse
import time

from common import LOSSES, MODELS, model, samples, table

import mcutrain
from mcutrain.verification import make_batches, verify

#: rate of all layers at which the steps do not diverge; ResNet8 takes raw pixels
RATES = {"resnet8": 1e-7, "dscnn": 1e-3, "autoencoder": 1e-6}


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
        for precision in args.precisions:
            for target in args.targets:
                build = mcutrain.compile(model(name), target=target, precision=precision, loss=LOSSES[name])
                batches = make_batches(build.manifest, data["x_train"], data["y_train"], args.steps)
                for workers in args.workers:
                    start = time.perf_counter()
                    with build.session(workers=workers) as session, build.reference() as reference:
                        report = verify(
                            session.executor, reference.executor, build.manifest, batches, lr=RATES[name]
                        )
                    seconds = time.perf_counter() - start
                    result = "equal" if report.equal else f"DIFFERS: {report.difference}"
                    row = [name, precision, target, workers, report.tensors, report.elements, report.skipped]
                    rows.append([*row, result, f"{seconds:.1f}"])
                    print("#", *rows[-1], flush=True)
    table(
        ["model", "precision", "target", "workers", "tensors", "elements", "skipped", "result", "seconds"],
        rows,
    )
    if any(row[7] != "equal" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
