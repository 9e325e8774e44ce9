"""Kernel calls on a simulated target: a firmware with every kernel and a dispatcher.

The host writes a call's operands and arguments, runs it, and reads all of them back, and what lies around
them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import kernel_harness
import numpy as np
import pytest

from mcutrain import simulators
from mcutrain.compiler.toolchain import build_firmware, find_compiler
from mcutrain.device.session import Session
from mcutrain.manifest import CallEntry, Manifest, MemoryEntry, Options, ProgramEntry, TensorEntry
from mcutrain.ops import KernelCall, Pointer
from mcutrain.targets import Target

TARGETS = [
    pytest.param("qemu-xpulp", marks=pytest.mark.qemu),
    pytest.param("gvsoc", marks=[pytest.mark.gvsoc, pytest.mark.slow]),
]
KERNELS = [
    *("dense", "dense_input_gradient", "dense_weight_gradient", "dense_rounded", "dense_update"),
    *("bias_gradient", "relu_bias_gradient", "mean_squared_error", "strided_copy"),
    *("conv2d_forward", "conv2d_input_gradient", "conv2d_weight_gradient"),
    *("depthwise_forward", "depthwise_input_gradient", "depthwise_weight_gradient"),
]
#: Kernels, and in binary32 those that have inner loops of their own in it.
FUNCTIONS = [
    *((stem, "f16") for stem in KERNELS),
    *((stem, "f32") for stem in KERNELS if stem.startswith(("conv2d", "dense"))),
    *(("binary", "f16"), ("activation", "f16"), ("sgd", "f32"), ("finite_check", "f32")),
    *(("average_pool2d", "f16"), ("average_pool2d_gradient", "f16")),
    *(("cross_entropy", "f16"), ("cross_entropy", "f32")),
]
#: A call begins with the kernel's number, the bytes of L1 it may use, and room for the transfers it started
#: and the bytes of L1 it wrote that are not its; its arguments follow, then the buffers.
ARGUMENTS, BUFFERS = 16, 512
#: Bytes before and behind what a kernel may use of L1.
GUARD = 64
#: Sizes in bytes that a call may have; the least that is enough travels.
SIZES = [1 << exponent for exponent in range(11, 20)]

#: What starts transfers: function, parameters, their names.
TRANSFERS = [
    ("mct_dma_in", "void *l1, const void *memory, uint32_t bytes", "l1, memory, bytes"),
    ("mct_dma_out", "void *memory, const void *l1, uint32_t bytes", "memory, l1, bytes"),
    (
        "mct_dma_in_rows",
        "void *l1, const void *memory, uint32_t rows, uint32_t row, uint32_t stride",
        "l1, memory, rows, row, stride",
    ),
    (
        "mct_dma_out_rows",
        "void *memory, const void *l1, uint32_t rows, uint32_t row, uint32_t stride",
        "memory, l1, rows, row, stride",
    ),
]
WRAPPED = ["mct_l1", "mct_l1_size", *(name for name, _, _ in TRANSFERS)]

MODEL = """
#include "cluster.h"
#include "mct_model.h"
{includes}

__attribute__((aligned(16))) uint8_t mct_data[16] = {{1}};
__attribute__((aligned(16))) uint8_t mct_arena[{size}];
const uint32_t mct_data_size = 16, mct_arena_size = {size};

static const mct_kernel kernels[] = {{{names}}};

/* The linker leads calls of f to __wrap_f, and of __real_f to f: kernels get a part of L1 between guards, and
 * their transfers are counted. */
enum {{ GUARD = {guard}, WRITTEN = 0xff }};
static uint32_t usable, transfers[16]; /* of each core */

uint8_t *__real_mct_l1(void);
uint32_t __real_mct_l1_size(void);
{real}
uint8_t *__wrap_mct_l1(void) {{
    return __real_mct_l1() + GUARD;
}}

uint32_t __wrap_mct_l1_size(void) {{
    return usable;
}}

static void count(void) {{
    uint32_t core;
    __asm__("csrr %0, mhartid" : "=r"(core));
    transfers[core & 15]++;
}}
{wrapped}
static uint32_t *head(void) {{
    return (uint32_t *)(void *)mct_arena;
}}

static void prepare(const void *args, uint32_t worker, uint32_t workers) {{
    uint32_t all = __real_mct_l1_size();
    (void)args, (void)workers;
    if (worker)
        return;
    usable = head()[1] && head()[1] < all - 2 * GUARD ? head()[1] : all - 2 * GUARD;
    memset(transfers, 0, sizeof transfers);
    memset(__real_mct_l1(), WRITTEN, all);
}}

static void dispatch(const void *args, uint32_t worker, uint32_t workers) {{
    (void)args;
    kernels[head()[0]](mct_arena + {arguments}, worker, workers);
}}

static void check(const void *args, uint32_t worker, uint32_t workers) {{
    const uint8_t *l1 = __real_mct_l1();
    uint32_t all = __real_mct_l1_size(), stray = 0;
    (void)args, (void)workers;
    if (worker)
        return;
    for (uint32_t i = 0; i < GUARD; i++)
        stray += l1[i] != WRITTEN;
    for (uint32_t i = GUARD + usable; i < all; i++)
        stray += l1[i] != WRITTEN;
    head()[2] = 0;
    for (uint32_t i = 0; i < 16; i++)
        head()[2] += transfers[i];
    head()[3] = stray;
}}

static const struct mct_call call[] = {{{{prepare, 0}}, {{dispatch, 0}}, {{check, 0}}}};
const struct mct_program mct_programs[] = {{{{"call", call, 3}}}};
const uint32_t mct_program_count = 1;
const uint8_t mct_build_id[32] = {{0xab}};
const uint32_t mct_workers = 8;
"""


class Remote:
    """Runs kernel calls on a simulated target; a session for each number of workers."""

    def __init__(self, target: Target, project: Path) -> None:
        names = ", ".join(f"mct_{stem}_{dtype}" for stem, dtype in FUNCTIONS)
        includes = "\n".join(f'#include "{stem}.h"' for stem in dict.fromkeys(stem for stem, _ in FUNCTIONS))
        (project / "model.c").write_text(
            MODEL.format(
                includes=includes,
                names=names,
                size=SIZES[-1],
                arguments=ARGUMENTS,
                guard=GUARD,
                real="".join(f"void __real_{name}({parameters});\n" for name, parameters, _ in TRANSFERS),
                wrapped="".join(
                    f"void __wrap_{name}({parameters}) {{\n    count();\n    __real_{name}({values});\n}}\n"
                    for name, parameters, values in TRANSFERS
                ),
            )
        )
        target = replace(target, link_flags=(*target.link_flags, *(f"-Wl,--wrap={name}" for name in WRAPPED)))
        (project / "weights.S").touch()
        self.target = target
        self.firmware = build_firmware(
            target,
            project,
            FUNCTIONS,
            project / "firmware.elf",
            compiler=find_compiler(),
        )
        self.base = self.firmware.elf.symbol("mct_arena")
        self.sessions: dict[int, Session] = {}
        #: bytes of L1 that calls may use, 0 for all; transfers that the last one started
        self.l1 = self.transfers = 0

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()

    def session(self, workers: int) -> Session:
        if workers not in self.sessions:
            link = simulators.start(self.target, self.firmware.path)
            self.sessions[workers] = Session(link, manifest(), workers=workers, silence=60.0)
        return self.sessions[workers]

    def run(self, call: KernelCall, buffers: Mapping[str, Any], workers: int) -> None:
        """What ``kernel_harness.run_kernel`` does, there."""
        assert self.base is not None
        offsets, end = {}, BUFFERS
        for name, buffer in buffers.items():
            offsets[name] = end + buffer.first
            end = -(-(end + len(buffer.memory)) // 16) * 16
        size = next(size for size in SIZES if size >= end)
        image = np.zeros(size, np.uint8)
        image[:8] = np.frombuffer(
            struct.pack("<II", FUNCTIONS.index((call.kernel, call.dtype)), self.l1), np.uint8
        )
        arguments = layout(call.kernel)()
        for name, value in call.fields.items():
            if isinstance(value, Pointer):
                setattr(arguments, name, self.base.address + offsets[value.tensor] if value.tensor else 0)
            elif isinstance(value, tuple):
                getattr(arguments, name)[: len(value)] = value
            else:
                setattr(arguments, name, value)
        packed = np.frombuffer(bytes(arguments), np.uint8)
        assert ARGUMENTS + len(packed) <= BUFFERS
        image[ARGUMENTS : ARGUMENTS + len(packed)] = packed
        for name, buffer in buffers.items():
            first = offsets[name] - buffer.first
            image[first : first + len(buffer.memory)] = buffer.memory
        tensor = f"call{size}"
        session = self.session(workers)
        back = session.run("call", {tensor: image.view(np.int32)}, (tensor,))[tensor].view(np.uint8)
        self.transfers, stray = struct.unpack("<II", back[8:16].tobytes())
        assert stray == 0, f"{call.kernel} wrote {stray} bytes outside its part of L1"
        for name, buffer in buffers.items():
            first = offsets[name] - buffer.first
            buffer.memory[:] = back[first : first + len(buffer.memory)]


def layout(stem: str) -> type[ctypes.LittleEndianStructure]:
    """``struct mct_<stem>`` with pointers of 32 bits."""
    native = kernel_harness._structure(stem)
    fields = [(name, ctypes.c_uint32 if kind is ctypes.c_void_p else kind) for name, kind in native._fields_]
    return type(stem, (ctypes.LittleEndianStructure,), {"_fields_": fields})


def manifest() -> Manifest:
    entry = CallEntry("kernel", "layer", "op", (), ())
    return Manifest(
        name="kernels",
        options=Options(),
        tensors=tuple(TensorEntry(f"call{n}", "i32", (n // 4,), "state", "arena", 0, n) for n in SIZES),
        programs=(ProgramEntry("call", (), (), (entry, entry, entry)),),
        layers=(),
        memory=MemoryEntry(0, 0, 0, 0, 0, 0, 0),
        data_size=16,
        arena_size=SIZES[-1],
        data_sha256="",
        build_id="ab" + "00" * 31,
    )
