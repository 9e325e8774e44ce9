"""How fast weights travel: MB/s to and from the device, per target.

    python benchmarks/link_throughput.py [target …]

The tensors are the model's parameters and their gradients, as `push`, `pull` and
`verify` move them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from common import model, table

import mcutrain
from mcutrain import simulators
from mcutrain.device.session import Session
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.targets import find_target

#: Least time to measure for, in seconds.
DURATION = 2.0


def rate(transfer: Callable[[], object], size: int) -> float:
    """MB/s of a transfer of ``size`` bytes, repeated."""
    transfer()
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < DURATION:
        transfer()
        count += 1
    return size * count / (time.perf_counter() - start) / 1e6


def measure(name: str) -> tuple[object, ...]:
    build = mcutrain.compile(model("resnet8"), target=name, precision="fp32", loss="cross-entropy")
    tensors = [t for t in build.manifest.tensors if t.dtype == "f32" and t.nbytes > 4]
    rng = np.random.default_rng(1)
    values = {t.name: rng.normal(size=t.shape).astype(NUMPY_DTYPES[t.dtype]) for t in tensors}
    size = sum(t.nbytes for t in tensors)
    target = find_target(name)
    with Session(simulators.start(target, build.firmware_path), build.manifest) as session:
        write = rate(lambda: session.write(values), size)
        read = rate(lambda: session.read(list(values)), size)
        empty = 200
        start = time.perf_counter()
        for _ in range(empty):
            session.run("infer", calls=(0, 0))
        exchange = (time.perf_counter() - start) / empty
        rates = f"{write:.3f}", f"{read:.3f}", f"{exchange * 1e6:.0f}"
        return name, target.link, size, *rates, session.repeated


if __name__ == "__main__":
    names = sys.argv[1:] or ["native", "qemu", "qemu-uart"]
    table(
        ("target", "link", "bytes", "write MB/s", "read MB/s", "empty exchange µs", "repeated"),
        [measure(name) for name in names],
    )
