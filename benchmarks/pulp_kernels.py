"""Cycles of single kernel calls on GVSoC's pulp-open, operands in L2, checked against NumPy.

    python benchmarks/pulp_kernels.py [--workers N] [--dtype f16|f32] [names …]

A call is run three times and the last one is counted, so caches are warm; another call comes before it in
its program, as in a training step, so that its arguments are in L1.  `cycles` is the
longest any worker takes from the kernel's first instruction to its last, asleep at barriers or not; the
other columns are means over the workers.  The limit of the machine is
8 MAC/cycle in f16, 4 in f32.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import table

from mcutrain import simulators
from mcutrain.compiler.emit import float_literal
from mcutrain.compiler.toolchain import build_firmware, find_compiler
from mcutrain.device.session import Session
from mcutrain.executor import same_bits
from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.manifest import CallEntry, Manifest, MemoryEntry, Options, ProgramEntry, TensorEntry
from mcutrain.ops import KernelCall, Pointer, op_for
from mcutrain.targets import find_target

TARGET = "gvsoc"
SEED = 5
#: What each worker counts, with the index of its counter; the cycles come first.
COUNTERS = {"cycles": 0, "instructions": 1, "load stalls": 2, "cache misses": 4, "FPU waits": 18}

MODEL = """
#include "mct_model.h"
{includes}

static const uint32_t counters[] = {{{counters}}};
enum {{ COUNTED = sizeof counters / sizeof *counters }};

__attribute__((aligned(16))) uint8_t mct_data[{data_size}] = {{1}};
__attribute__((aligned(16))) uint8_t mct_arena[16];
const uint32_t mct_data_size = {data_size}, mct_arena_size = 16;

{arguments}

#define READ(to, i) \\
    case i: \\
        __asm__ volatile("csrr %0, 0x780 + " #i : "=r"(to)::"memory"); \\
        break
static uint32_t counter(uint32_t index) {{
    uint32_t value = 0;
    switch (index) {{
{reads}
    }}
    return value;
}}

/* Counter 0 stands still while a core sleeps at a barrier, mcycle does not. */
static uint32_t clock(void) {{
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles)::"memory");
    return cycles;
}}

#define START \\
    for (uint32_t i = 0; i < COUNTED; i++) \\
        before[i] = counter(counters[i]); \\
    const uint32_t start = clock()
#define END \\
    const uint32_t end = clock(); \\
    for (uint32_t i = 0; i < COUNTED; i++) \\
        counts[i] = counter(counters[i]) - before[i]; \\
    counts[0] = end - start

static void measured(const void *args, uint32_t worker, uint32_t workers) {{
    uint32_t before[COUNTED], *counts = (uint32_t *)(void *)mct_data + worker * COUNTED;
    __asm__ volatile("csrw 0xcc0, %0\\n\\tcsrw 0xcc1, %1" ::"r"(-1), "r"(1));
{body}
}}

/* A call before it, as in a program: its arguments are brought meanwhile. */
static void another(const void *args, uint32_t worker, uint32_t workers) {{
    (void)args, (void)worker, (void)workers;
}}

static const struct mct_call calls[] = {{{{another, &arguments, 0}},
                                        {{measured, &arguments, sizeof arguments}}}};
const struct mct_program mct_programs[] = {{{{"measured", calls, 2}}}};
const uint32_t mct_program_count = 1;
const uint8_t mct_build_id[32] = {{0xab}};
const uint32_t mct_workers = 8;
"""


@dataclass(frozen=True)
class Case:
    """One kernel call: an operator, and the shapes of its operands."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    #: operands that are binary32 in any precision (biases, accumulators)
    wide: tuple[int, ...] = ()
    #: output to the input it is updated in
    inplace: Mapping[int, int] = field(default_factory=dict)
    #: operands that are not random numbers
    given: Mapping[int, Array] = field(default_factory=dict)


def conv(pads: int = 1, stride: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "strides": (stride, stride),
        "pads": (pads,) * 4,
        "dilations": (1, 1),
        "group": 1,
        "activation": "none",
        **more,
    }


def strided(**more: Any) -> dict[str, Any]:
    """3x3, stride 2, the padding of TensorFlow's "same"."""
    return {**conv(stride=2, **more), "pads": (0, 0, 1, 1)}


def depthwise(**more: Any) -> dict[str, Any]:
    return {key: value for key, value in conv(**more).items() if key != "group"}


def update(columns: int, depth: int, *, dx: bool) -> Case:
    """Backward pass and gradient descent in one."""
    return Case(
        "DenseUpdate",
        ((1, depth), (1, columns), (columns, depth), (columns,), (4,), (1,), (1,)),
        {"dx": dx},
        wide=(2, 3, 4, 5),
        inplace={0: 2, 1: 3, 2: 6},
        given={4: np.float32([0.1, 0, 0, 1]), 5: np.float32([8]), 6: np.int32([0])},
    )


GRADIENT: dict[str, Any] = {"wide": (2,), "inplace": {0: 2}}
#: The first layer of DS-CNN.
FIRST: dict[str, Any] = {**conv(stride=2), "pads": (4, 1, 5, 1)}
CASES: dict[str, Case] = {
    "NT 64x64x64": Case("Dense", ((64, 64), (64, 64))),
    "NT 64x64x128": Case("Dense", ((64, 128), (64, 128))),
    "NT 64x64x64 relu": Case("Dense", ((64, 64), (64, 64), (64,)), {"activation": "relu"}, wide=(2,)),
    "NT 61x63x65": Case("Dense", ((61, 65), (63, 65))),
    "TN 64x64x64": Case("DenseWeightGradient", ((64, 64), (64, 64), (64, 64)), **GRADIENT),
    "conv 3x3 16-16 32x32": Case("Conv2d", ((1, 32, 32, 16), (16, 3, 3, 16)), conv()),
    "conv 3x3 16-16 32x32 weights": Case(
        "Conv2dWeightGradient", ((1, 32, 32, 16), (1, 32, 32, 16), (16, 3, 3, 16)), conv(), **GRADIENT
    ),
    "conv 3x3 16-16 32x32 input": Case(
        "Conv2dInputGradient", ((1, 32, 32, 16), (16, 3, 3, 16)), conv(input_hw=(32, 32))
    ),
    "conv 3x3 16-32 32x32 stride 2": Case("Conv2d", ((1, 32, 32, 16), (32, 3, 3, 16)), strided()),
    "conv 3x3 16-32 32x32 stride 2 weights": Case(
        "Conv2dWeightGradient", ((1, 32, 32, 16), (1, 16, 16, 32), (32, 3, 3, 16)), strided(), **GRADIENT
    ),
    "conv 3x3 16-32 32x32 stride 2 input": Case(
        "Conv2dInputGradient", ((1, 16, 16, 32), (16, 3, 3, 32)), strided(input_hw=(32, 32))
    ),
    "conv 3x3 3-16 32x32": Case("Conv2d", ((1, 32, 32, 3), (16, 3, 3, 3)), conv()),
    "conv 3x3 3-16 32x32 weights": Case(
        "Conv2dWeightGradient", ((1, 32, 32, 3), (1, 32, 32, 16), (16, 3, 3, 3)), conv(), **GRADIENT
    ),
    "conv 1x1 16-32 32x32 stride 2": Case(
        "Conv2d", ((1, 32, 32, 16), (32, 1, 1, 16)), conv(pads=0, stride=2)
    ),
    "conv 1x1 16-32 32x32 stride 2 weights": Case(
        "Conv2dWeightGradient",
        ((1, 32, 32, 16), (1, 16, 16, 32), (32, 1, 1, 16)),
        conv(pads=0, stride=2),
        **GRADIENT,
    ),
    "conv 1x1 16-32 32x32 stride 2 input": Case(
        "Conv2dInputGradient", ((1, 16, 16, 32), (16, 1, 1, 32)), conv(pads=0, stride=2, input_hw=(32, 32))
    ),
    "depthwise 3x3 64 25x5": Case("DepthwiseConv2d", ((1, 25, 5, 64), (3, 3, 64)), depthwise()),
    "depthwise 3x3 64 25x5 weights": Case(
        "DepthwiseConv2dWeightGradient", ((1, 25, 5, 64), (1, 25, 5, 64), (3, 3, 64)), depthwise(), **GRADIENT
    ),
    "depthwise 3x3 64 25x5 input": Case(
        "DepthwiseConv2dInputGradient", ((1, 25, 5, 64), (3, 3, 64)), depthwise(input_hw=(25, 5))
    ),
    "pointwise 64-64 125": Case("Conv2d", ((1, 25, 5, 64), (64, 1, 1, 64)), conv(pads=0)),
    "pointwise 64-64 125 weights": Case(
        "Conv2dWeightGradient", ((1, 25, 5, 64), (1, 25, 5, 64), (64, 1, 1, 64)), conv(pads=0), **GRADIENT
    ),
    "pointwise 64-64 125 input, transposition included": Case(
        "DenseInputGradient", ((1, 25, 5, 64), (64, 1, 1, 64))
    ),
    "first 10x4 1-64 49x10": Case("Conv2d", ((1, 49, 10, 1), (64, 10, 4, 1), (64,)), FIRST, wide=(2,)),
    "first 10x4 1-64 49x10 weights": Case(
        "Conv2dWeightGradient", ((1, 49, 10, 1), (1, 25, 5, 64), (64, 10, 4, 1)), FIRST, **GRADIENT
    ),
    "conv 3x3 64-64 8x8": Case("Conv2d", ((1, 8, 8, 64), (64, 3, 3, 64)), conv()),
    "conv 3x3 64-64 8x8 weights": Case(
        "Conv2dWeightGradient", ((1, 8, 8, 64), (1, 8, 8, 64), (64, 3, 3, 64)), conv(), **GRADIENT
    ),
    "transposition 3x3 64-64": Case("Transpose", ((64, 3, 3, 64),), {"perm": (3, 1, 2, 0)}),
    "transposition 3x3 16-16": Case("Transpose", ((16, 3, 3, 16),), {"perm": (3, 1, 2, 0)}),
    "rounding 22604": Case("Cast", ((22604,),), {"dtype": "f16"}, wide=(0,)),
    "dense 128x128": Case("Dense", ((1, 128), (128, 128))),
    "dense 128x128 input": Case("DenseInputGradient", ((1, 128), (128, 128))),
    "dense 128x128 masters": Case("RoundedDense", ((1, 128), (128, 128)), wide=(1,)),
    "dense 128x128 weights, update": update(128, 128, dx=False),
    "dense 128x128 input, weights, update": update(128, 128, dx=True),
}


@dataclass(frozen=True)
class Prepared:
    """A case with its operands made, its call worked out and its memory laid out."""

    call: KernelCall
    macs: int
    inputs: dict[str, Array]
    expected: dict[str, Array]
    tensors: tuple[TensorEntry, ...]


def prepare(case: Case, dtype: str, workers: int) -> Prepared:
    """Random operands, and where everything is."""
    rng, op = np.random.default_rng(SEED), op_for(case.op)
    names = [f"in{i}" for i in range(len(case.shapes))]
    tensors = [
        Tensor(
            name,
            shape,
            "i32"
            if i in case.given and case.given[i].dtype == np.int32
            else "f32"
            if i in case.wide
            else dtype,
            "state" if i in case.inplace.values() else "input",
        )  # type: ignore[arg-type]
        for i, (name, shape) in enumerate(zip(names, case.shapes, strict=True))
    ]
    inputs = {
        t.name: case.given.get(i, rng.normal(size=t.shape).astype(NUMPY_DTYPES[t.dtype]))
        for i, t in enumerate(tensors)
    }
    node = Node(case.op, tuple(names), (), dict(case.attrs), name="measured")
    outputs = [
        Tensor(names[case.inplace[i]] if i in case.inplace else f"out{i}", tuple(shape), kind)
        for i, (shape, kind) in enumerate(op.infer(node, tensors))
    ]
    node = Node(case.op, tuple(names), tuple(t.name for t in outputs), node.attrs, name="measured")
    expected = op.compute(node, list(inputs.values()), outputs)
    call = op.kernel(node, tensors, outputs)
    assert call is not None
    workspace = Tensor("workspace", (op.workspace(node, tensors, outputs) * workers // 4,), "f32", "state")
    entries = place({t.name: t for t in (*tensors, *outputs, workspace)}.values())
    return Prepared(
        call,
        op.macs(node, tensors, outputs),
        inputs,
        {t.name: v for t, v in zip(outputs, expected, strict=True)},
        entries,
    )


def place(tensors: Iterable[Tensor]) -> tuple[TensorEntry, ...]:
    """Where what the workers count and the tensors are: one after the other."""
    entries = [TensorEntry("counts", "i32", (8, len(COUNTERS)), "state", "data", 0, 4 * len(COUNTERS) * 8)]
    for t in tensors:
        offset = -(-(entries[-1].offset + entries[-1].nbytes) // 16) * 16
        entries.append(TensorEntry(t.name, t.dtype, t.shape, "state", "data", offset, t.nbytes))
    return tuple(entries)


def literal(value: object, places: Mapping[str, TensorEntry]) -> str:
    """A field of the call as C."""
    if isinstance(value, Pointer):
        if not value.tensor:
            return "0"
        place = places[value.tensor]
        return f"(void *)(mct_{place.region} + {place.offset})"
    if isinstance(value, tuple):
        return "{" + ", ".join(literal(v, places) for v in value) + "}"
    return float_literal(value) if isinstance(value, float) else str(int(value))  # type: ignore[call-overload]


def measure(case: Case, dtype: str, workers: int) -> dict[str, float]:
    """Build, run, check the bits; the counters' values and ``macs``."""
    made = prepare(case, dtype, workers)
    places = {entry.name: entry for entry in made.tensors}
    function = f"{made.call.kernel}_{made.call.dtype}"
    fields = "\n".join(f"    .{name} = {literal(v, places)}," for name, v in made.call.fields.items())
    counts = count(
        f'#include "{made.call.kernel}.h"',
        f"static const struct mct_{made.call.kernel} arguments = {{\n{fields}\n}};",
        f"    START;\n    mct_{function}(args, worker, workers);\n    END;",
        made.tensors,
        (made.call.kernel, made.call.dtype),
        made.inputs,
        made.expected,
        workers,
    )
    return {**counts, "macs": made.macs}


def count(
    includes: str,
    arguments: str,
    body: str,
    tensors: tuple[TensorEntry, ...],
    kernel: tuple[str, str],
    inputs: dict[str, Array],
    expected: dict[str, Array],
    workers: int,
) -> dict[str, float]:
    """Run C between ``START`` and ``END``, check the bits; the counters' values.

    Cycles are those of the worker that takes longest, the others are means.
    """
    data_size = -(-(tensors[-1].offset + tensors[-1].nbytes) // 16) * 16
    text = MODEL.format(
        includes=includes,
        counters=", ".join(map(str, COUNTERS.values())),
        reads="\n".join(f"        READ(value, {i});" for i in COUNTERS.values()),
        arguments=arguments,
        body=body,
        data_size=data_size,
    )
    entry = CallEntry(kernel[0], "measured", kernel[0], (), ())
    manifest = Manifest(
        name="measured",
        options=Options(),
        tensors=tensors,
        programs=(ProgramEntry("measured", (), (), (entry, entry)),),
        layers=(),
        memory=MemoryEntry(0, 0, 0, 0, 0, 0, 0),
        data_size=data_size,
        arena_size=16,
        data_sha256="",
        build_id="ab" + "00" * 31,
    )
    with tempfile.TemporaryDirectory() as folder:
        project, target = Path(folder), find_target(TARGET)
        (project / "model.c").write_text(text)
        (project / "weights.S").touch()
        built = build_firmware(
            target, project, [kernel], project / target.executable, compiler=find_compiler()
        )
        with Session(
            simulators.start(target, built.path), manifest, workers=workers, silence=60.0
        ) as session:
            for _ in range(3):
                session.write(inputs)
                session.run("measured")
            got = session.read([*expected, "counts"])
    for name, value in expected.items():
        assert same_bits(got[name], value), f"{kernel[0]}: '{name}' has other bits than NumPy"
    counts = got["counts"][:workers]
    means = dict(zip(COUNTERS, counts.mean(0), strict=True))
    return {**means, "cycles": float(counts[:, 0].max())}


def report(found: Mapping[str, Mapping[str, float]]) -> None:
    header = ["kernel", "cycles", "MAC/cycle", *list(COUNTERS)[1:]]
    rows: list[list[object]] = []
    for name, counts in found.items():
        rate = counts["macs"] / counts["cycles"]
        others = [f"{counts[counter]:,.0f}" for counter in list(COUNTERS)[1:]]
        rows.append([name, f"{counts['cycles']:,.0f}", f"{rate:.2f}", *others])
    table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="; ".join(CASES))
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--dtype", choices=["f16", "f32"], default="f16")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(CASES))
    if unknown:
        parser.error(f"no such kernel: {', '.join(unknown)}")
    report({name: measure(CASES[name], args.dtype, args.workers) for name in args.names or CASES})


if __name__ == "__main__":
    main()
