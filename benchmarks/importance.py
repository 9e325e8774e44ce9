"""What importances cost on GVSoC's pulp-open: cycles against a training step, and memory.

    python benchmarks/importance.py [--models …]

A training step is Program `train_step`; with the step of the optimizer also `apply`.
Every tensor that `importance` leaves behind is compared with NumPy bit for bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from common import LOSSES, model, samples, table

import mcutrain
from mcutrain import simulators
from mcutrain.build import Build
from mcutrain.device.profile import run_counted
from mcutrain.device.session import Session
from mcutrain.executor import Array, same_bits
from mcutrain.ir import NUMPY_DTYPES

PROGRAMS = ("zero_gradients", "train_step", "importance", "apply", "store_importance", "dampen")
SETTINGS = {
    "hyper": np.float32([1e-6, 0, 0, 1]),
    "importance_factor": np.float32([1]),
    "dampening": np.float32([0.5, 1, 1]),
}


def program_cycles(build: Build, x: Array, y: Array, names: Sequence[str]) -> dict[str, int]:
    """Cycles of one warm run of each Program on a sample, by a GVSoC build."""
    entry = build.manifest.tensor(build.manifest.program("infer").inputs[0])
    inputs = {
        entry.name: np.asarray(x[:1]).astype(NUMPY_DTYPES[entry.dtype]).reshape(entry.shape),
        "label": np.asarray(y[:1]).astype(np.int32),
        "retention": np.float32([2, 1, 1]),
        **SETTINGS,
    }
    found = {}
    simulator = simulators.start(build.target, build.firmware_path)
    with Session(simulator, build.manifest, silence=600.0) as device:
        device.write(inputs)
        device.run("train_step")
        for name in names:
            device.run(name)
            found[name] = run_counted(device, name, each_call=False).duration
    return found


def planned(name: str, *methods: str) -> int:
    """Bytes of data and arena in mixed precision, for QEMU.

    For GVSoC a build without methods keeps rounded copies of all parameters, which would hide the difference.
    """
    manifest = mcutrain.compile(
        model(name), target="qemu", precision="mixed", loss=LOSSES[name], unlearn=methods
    ).manifest
    return manifest.data_size + manifest.arena_size


def cycles(name: str) -> dict[str, int]:
    """Cycles of each Program on eight cores, warm."""
    build = mcutrain.compile(model(name), target="gvsoc", precision="mixed", loss=LOSSES[name], unlearn="ssd")
    data = samples(name)
    entry = build.manifest.tensor(build.manifest.program("infer").inputs[0])
    inputs = {
        entry.name: data["x_train"][:1].astype(np.float16).reshape(entry.shape),
        "label": data["y_train"][:1].astype(np.int32),
        **SETTINGS,
    }
    found: dict[str, int] = {}
    names = [f"{t.name}.gradient" for t in build.manifest.trained()]
    simulator = simulators.start(build.target, build.firmware_path)
    with Session(simulator, build.manifest, silence=600.0) as device, build.reference() as reference:
        for executor in (device, reference.executor):
            executor.write(inputs)
        for program in ("train_step", *PROGRAMS):
            found[program] = run_counted(device, program, each_call=False).duration
            reference.executor.run(program)
            if program == "importance":
                want, got = reference.executor.read(names), device.read(names)
                assert all(same_bits(got[n], want[n]) for n in names), "importance has other bits than NumPy"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet8", "dscnn"])
    args = parser.parse_args()
    rows = []
    for name in args.models:
        found = cycles(name)
        step = found["train_step"] + found["apply"]
        rows.append(
            [
                name,
                *(f"{found[program]:,}" for program in PROGRAMS),
                f"{found['importance'] / found['train_step']:.3f}",
                f"{found['importance'] / step:.3f}",
                f"{planned(name, 'ssd') - planned(name):,}",
            ]
        )
    table(["model", *PROGRAMS, "against train_step", "against a whole step", "extra bytes of ssd"], rows)


if __name__ == "__main__":
    main()
