"""Memory of a training build: what was planned and what was linked.

    python benchmarks/memory.py

`plan` is the planner's data + arena (weights, gradients, activations,
workspaces, inputs); `linked` the sizes of the same two symbols in the ELF.
"""

from __future__ import annotations

from common import LOSSES, MODELS, model, table

import mcutrain
from mcutrain.compiler.elf import read_elf


def main() -> None:
    rows = []
    for name in MODELS:
        kinds = [("fp32", False), ("mixed", False), *([("mixed", True)] if name == "autoencoder" else [])]
        for precision, immediate in kinds:
            build = mcutrain.compile(
                model(name), target="qemu", precision=precision, loss=LOSSES[name], immediate=immediate
            )
            memory = build.manifest.memory
            elf = read_elf(build.firmware_path)
            symbols = [elf.symbol("mct_data"), elf.symbol("mct_arena")]
            linked = sum(symbol.size for symbol in symbols if symbol is not None)
            plan = build.manifest.data_size + build.manifest.arena_size
            parts = [memory.weights, memory.gradients, memory.inputs, memory.scratch]
            kind = precision + immediate * ", --immediate"
            rows.append([name, kind, *(f"{part:,}" for part in parts), f"{plan:,}", f"{linked:,}"])
    table(
        ["model", "precision", "weights", "gradients", "inputs", "activations + workspace", "plan", "linked"],
        rows,
    )


if __name__ == "__main__":
    main()
