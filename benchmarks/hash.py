"""Cycles a byte of the SHA-256 by which a device hashes its weights, and the bytes of code that takes.

    python benchmarks/hash.py [--target gvsoc] [--model dscnn]

In ticks of the device's own clock, of the second of two requests; of `native` these are microseconds.
"""

from __future__ import annotations

import argparse

from common import LOSSES, MODELS, model, table

import mcutrain
from mcutrain.runrecords import weight_names
from mcutrain.work import Stopwatch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", default="gvsoc")
    parser.add_argument("--model", choices=list(MODELS), default="dscnn")
    args = parser.parse_args()
    build = mcutrain.compile(
        model(args.model), target=args.target, precision="mixed", loss=LOSSES[args.model]
    )
    names = weight_names(build.manifest)
    nbytes = sum(build.manifest.tensor(name).nbytes for name in names)
    with build.session() as learner:
        assert learner.store is not None
        learner.store.hash(names)
        watch = Stopwatch(learner.executor)
        learner.store.hash(names)
        taken = watch.span()
    table(
        ["target", "bytes", "ticks", "ticks a byte", "firmware, bytes"],
        [
            [
                args.target,
                f"{nbytes:,}",
                f"{taken.ticks:,.0f}",
                f"{taken.ticks / nbytes:.1f}",
                f"{build.firmware_path.stat().st_size:,}",
            ]
        ],
    )


if __name__ == "__main__":
    main()
