"""The analytic head of DS-CNN: accuracy against the trained one, and requests that leave no trace.

    python benchmarks/analytic_head.py [--target native] [--forget 50]

Keyword samples, mixed precision. The head learns the training samples; then samples are forgotten, and the
SHA-256 of all weights and sums is compared with that of a head that never learned them, in another order.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import numpy as np
from common import model, samples, table

import mcutrain
from mcutrain.unlearning.analytic_head import RIDGE, AnalyticHead


def digest(head: AnalyticHead) -> str:
    """SHA-256 of the weights and of what the head knows."""
    found = hashlib.sha256()
    for name, value in sorted({**head.learner.weights(), **head.state()}.items()):
        found.update(name.encode() + value.tobytes())
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", default="native")
    parser.add_argument("--forget", type=int, default=50)
    parser.add_argument("--ridge", type=float, default=RIDGE)
    args = parser.parse_args()
    build = mcutrain.compile(
        model("dscnn"), target=args.target, precision="mixed", loss="cross-entropy", unlearn="analytic-head"
    )
    data = samples("dscnn")
    x, y = data["x_train"], data["y_train"]
    test = (data["x_test"], data["y_test"])
    gone = np.random.default_rng(0).permutation(len(x))[: args.forget]
    stay = np.random.default_rng(1).permutation(np.setdiff1d(np.arange(len(x)), gone))
    rows = []

    def row(what: str, streamed: int, seconds: float) -> None:
        accuracy = session.evaluate(*test).accuracy or 0.0
        rows.append([what, streamed, f"{seconds:.2f}", f"{accuracy:.1%}", digest(head)[:16]])

    with build.session() as session:
        head = AnalyticHead(session)
        row("as it came", 0, 0.0)
        everything = session.training_set(x, y)
        head.calibrate(*everything)
        for what, streamed, chosen, forget in (
            (f"learned {len(x)}", len(x), np.arange(len(x)), False),
            (f"forgot {len(gone)}", len(gone), gone, True),
            (f"never learned these {len(gone)}, another order", len(stay), stay, False),
        ):
            if what.startswith("never"):
                head.clear()
            pair = session.training_set(x[chosen], y[chosen])
            start = time.perf_counter()
            (head.forget if forget else head.learn)(*pair)
            head.solve(args.ridge)
            row(what, streamed, time.perf_counter() - start)
    assert rows[-1][-1] == rows[-2][-1] != rows[-3][-1]
    table(["head", "samples streamed", "seconds", "test accuracy", "SHA-256"], rows)
    sums = sum(t.nbytes for t in build.manifest.tensors if t.name.startswith("head."))
    print(f"\nState of the head: {sums:,} bytes.")


if __name__ == "__main__":
    main()
