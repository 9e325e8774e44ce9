"""PULP's instructions, emulated on QEMU and on GVSoC: the bits of NumPy for random and special operands."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mcutrain import simulators
from mcutrain.compiler.toolchain import build_firmware, find_compiler
from mcutrain.device.session import Session
from mcutrain.errors import SimulatorError
from mcutrain.ir import Array
from mcutrain.manifest import CallEntry, Manifest, MemoryEntry, Options, ProgramEntry, TensorEntry
from mcutrain.numerics.dot import fused_multiply_add
from mcutrain.targets import find_target

MODEL = Path(__file__).parent / "firmware" / "xpulp.c"
COUNT = 4096
TARGETS = [
    pytest.param("qemu-xpulp", marks=pytest.mark.qemu),
    pytest.param("gvsoc", marks=pytest.mark.gvsoc),
]

#: zeros, ones, subnormals, the least normal, the greatest, infinities, NaNs of both signs and kinds
SPECIAL_HALVES = (
    *(0x0000, 0x8000, 0x3C00, 0xBC00, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF),
    *(0x7C00, 0xFC00, 0x7E00, 0xFE00, 0x7D01, 0xFFFF, 0x3800, 0xB800, 0x4200, 0x77FF, 0xF800, 0x1000),
)
SPECIAL_SINGLES = (
    *(0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000),
    *(0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F812345, 0x33000000),
    *(0x33000001, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x387FC000, 0xB3800000, 0x38802000, 0x3F801000),
)


def halves(rng: np.random.Generator) -> Array:
    """[COUNT] u16: all pairs of special values meet where two lists are rolled against each other."""
    special = rng.choice(np.array(SPECIAL_HALVES, np.uint16), COUNT)
    patterns = rng.integers(0, 1 << 16, COUNT, np.uint16)
    usual = rng.normal(scale=4, size=COUNT).astype(np.float16).view(np.uint16)
    return np.choose(rng.integers(0, 3, COUNT), [special, patterns, usual])


def pairs(rng: np.random.Generator) -> Array:
    """[COUNT] u32 of two halves."""
    return halves(rng).astype(np.uint32) << 16 | halves(rng)


def singles(rng: np.random.Generator) -> Array:
    """[COUNT] u32 that hold binary32."""
    special = rng.choice(np.array(SPECIAL_SINGLES, np.uint32), COUNT)
    patterns = rng.integers(0, 1 << 32, COUNT, np.uint32)
    usual = rng.normal(scale=64, size=COUNT).astype(np.float32).view(np.uint32)
    return np.choose(rng.integers(0, 3, COUNT), [special, patterns, usual])


def words(rng: np.random.Generator) -> Array:
    """[COUNT] u32, some of them small."""
    shifts = np.array([0, 0, 16, 24], np.uint32)
    return rng.integers(0, 1 << 32, COUNT, np.uint32) >> rng.choice(shifts, COUNT)


Reference = Callable[[Array, Array, Array], Array]
Operands = Callable[[np.random.Generator], Array]


def half(bits: Array) -> Array:
    """Lane 0 as f16."""
    return np.ascontiguousarray(bits.astype(np.uint16)).view(np.float16)


def half_bits(values: Array) -> Array:
    """u32 with the bits of f16, NaN canonical."""
    values = np.asarray(values).astype(np.float16)
    return np.where(np.isnan(values), np.uint16(0x7E00), values.view(np.uint16)).astype(np.uint32)


def wide(bits: Array) -> Array:
    """Lane 0 as f32."""
    return half(bits).astype(np.float32)


def single(bits: Array) -> Array:
    return bits.view(np.float32)


def single_bits(values: Array) -> Array:
    values = np.asarray(values, np.float32)
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))


def lanes(lane: Reference) -> Reference:
    """The operation on both halves."""
    return lambda d, a, b: lane(d >> 16, a >> 16, b >> 16) << 16 | lane(d, a, b) & 0xFFFF


def repeated(operation: Reference) -> Reference:
    """The operation with the low half of rs2 in both."""
    return lambda d, a, b: operation(d, a, b << 16 | b & 0xFFFF)


def arithmetic(function: Callable[[Array, Array], Array]) -> Reference:
    return lanes(lambda d, a, b: half_bits(function(half(a), half(b))))


def comparison(function: Callable[[Array, Array], Array]) -> Reference:
    """1 where true; nothing is true of a NaN, not even that it is unequal."""
    return lanes(
        lambda d, a, b: (function(half(a), half(b)) & ~np.isnan(half(a)) & ~np.isnan(half(b))).astype(
            np.uint32
        )
    )


def fused(d: Array, a: Array, b: Array) -> Array:
    """d + a * b in f16, rounded once: the sum in f64 is rounded to odd, so that f16 rounds it right."""
    c, p = half(d).astype(np.float64), half(a).astype(np.float64) * half(b).astype(np.float64)
    total = np.asarray(p + c)
    part = total - p
    error = (p - (total - part)) + (c - part)
    even = total.view(np.int64) % 2 == 0
    change = np.isfinite(total) & np.isfinite(error) & (error != 0) & even
    return half_bits(np.where(change, np.nextafter(total, np.copysign(np.inf, error)), total))


def extreme(a: Array, b: Array, least: bool) -> Array:
    """minNum or maxNum: of NaN and x, x; -0 is less than +0."""
    x, y = half(a), half(b)
    less = (x < y) | (x == y) & np.signbit(x)
    chosen = np.where(np.isnan(x) | (~np.isnan(y) & (less != least)), y, x)
    return half_bits(chosen)


def to_integer(a: Array) -> Array:
    """To nearest even, saturated, NaN the greatest."""
    x = np.nan_to_num(half(a).astype(np.float64), nan=32767.0)
    return np.clip(np.rint(x), -32768, 32767).astype(np.int16).view(np.uint16).astype(np.uint32)


def pair(a: Array, b: Array) -> Array:
    """a1 * b1 + a0 * b0 in f32, which rounds once because the products are exact."""
    return np.asarray(wide(a >> 16) * wide(b >> 16) + wide(a) * wide(b))


def signed(bits: Array) -> Array:
    return bits.astype(np.uint16).view(np.int16)


def shuffle2(d: Array, a: Array, b: Array) -> Array:
    def chosen(selector: Array) -> Array:
        return np.where(selector & 2, a, d) >> np.where(selector & 1, 16, 0).astype(np.uint32) & 0xFFFF

    return chosen(b >> 16) << 16 | chosen(b)


@dataclass(frozen=True)
class Instruction:
    """``.insn`` fields, what it computes, and what its operands rd, rs1, rs2 are."""

    name: str
    fields: str
    reference: Reference
    operands: tuple[Operands, Operands, Operands]
    rs2: str = "%2"


LANES, SUMS, WORDS = (pairs, pairs, pairs), (singles, pairs, pairs), (words, words, words)
FP16: dict[str, tuple[int, Reference]] = {
    "vfadd_h": (0x41, arithmetic(np.add)),
    "vfsub_h": (0x42, arithmetic(np.subtract)),
    "vfmul_h": (0x43, arithmetic(np.multiply)),
    "vfdiv_h": (0x44, arithmetic(np.divide)),
    "vfmac_h": (0x48, lanes(fused)),
}
COMPARISONS = {
    "vfeq_h": (0x50, np.equal),
    "vfne_h": (0x51, np.not_equal),
    "vflt_h": (0x52, np.less),
    "vfge_h": (0x53, np.greater_equal),
    "vfle_h": (0x54, np.less_equal),
    "vfgt_h": (0x55, np.greater),
}


def dot(d: Array, a: Array, b: Array) -> Array:
    return single_bits(single(d) + pair(a, b))


INSTRUCTIONS = [
    *(Instruction(n, f"0x33, 2, {f7:#x}", ref, LANES) for n, (f7, ref) in FP16.items()),
    *(Instruction(f"{n}_r", f"0x33, 6, {f7:#x}", repeated(ref), LANES) for n, (f7, ref) in FP16.items()),
    *(Instruction(n, f"0x33, 2, {f7:#x}", comparison(f), LANES) for n, (f7, f) in COMPARISONS.items()),
    Instruction("vfmin_h", "0x33, 2, 0x45", lanes(lambda d, a, b: extreme(a, b, least=True)), LANES),
    Instruction("vfmax_h", "0x33, 2, 0x46", lanes(lambda d, a, b: extreme(a, b, least=False)), LANES),
    Instruction("vfcvt_x_h", "0x33, 2, 0x4c", lanes(lambda d, a, b: to_integer(a)), LANES, "x2"),
    Instruction("vfcvt_h_x", "0x33, 2, 0x4c", lanes(lambda d, a, b: half_bits(signed(a))), WORDS, "x3"),
    Instruction("vfsgnjn_h", "0x33, 2, 0x4e", lambda d, a, b: a & 0x7FFF7FFF | ~b & 0x80008000, LANES),
    Instruction("vfdotpex_s_h", "0x33, 0, 0x4b", dot, SUMS),
    Instruction("vfdotpex_s_h_r", "0x33, 4, 0x4b", repeated(dot), SUMS),
    Instruction("vfndotpex_s_h", "0x33, 0, 0x5d", lambda d, a, b: single_bits(single(d) - pair(a, b)), SUMS),
    Instruction(
        "vfcpka_h_s",
        "0x33, 2, 0x58",
        lambda d, a, b: half_bits(single(b)) << 16 | half_bits(single(a)),
        (words, singles, singles),
    ),
    Instruction("fmulex_s_h", "0x53, 0, 0x26", lambda d, a, b: single_bits(wide(a) * wide(b)), SUMS),
    Instruction(
        "fmacex_s_h",
        "0x53, 0, 0x2a",
        lambda d, a, b: single_bits(fused_multiply_add(wide(a), wide(b), single(d))),
        SUMS,
    ),
    Instruction("pv_pack_h", "0x57, 0, 0x68", lambda d, a, b: a << 16 | b & 0xFFFF, WORDS),
    Instruction("pv_shuffle2_h", "0x57, 0, 0x64", shuffle2, WORDS),
    Instruction(
        "pv_max_h", "0x57, 0, 0x18", lanes(lambda d, a, b: np.where(signed(a) > signed(b), a, b)), WORDS
    ),
    Instruction(
        "pv_cmpgt_h",
        "0x57, 0, 0x0a",
        lanes(lambda d, a, b: (signed(a) > signed(b)) * np.uint32(0xFFFF)),
        WORDS,
    ),
    Instruction(
        "pv_cmpgeu_h",
        "0x57, 0, 0x1e",
        lanes(lambda d, a, b: ((a & 0xFFFF) >= (b & 0xFFFF)) * np.uint32(0xFFFF)),
        WORDS,
    ),
    Instruction("p_mac", "0x33, 0, 0x21", lambda d, a, b: d + a * b, WORDS),
    Instruction("p_min", "0x33, 4, 0x02", lambda d, a, b: np.minimum(a.view("i4"), b.view("i4")), WORDS),
    Instruction("p_max", "0x33, 6, 0x02", lambda d, a, b: np.maximum(a.view("i4"), b.view("i4")), WORDS),
    Instruction("p_exths", "0x33, 4, 0x08", lambda d, a, b: signed(a).astype(np.int32), WORDS, "x0"),
    Instruction("p_ror", "0x33, 5, 0x04", lambda d, a, b: a >> (b & 31) | a << (-b & 31), WORDS),
]


def memory_words(d: Array) -> Array:
    """[COUNT, 64] u32: what ``loads`` finds."""
    return d[:, None] + np.arange(64, dtype=np.uint32) * np.uint32(0x9E3779B9)


def loads(d: Array, a: Array, b: Array) -> Array:
    memory = np.ascontiguousarray(memory_words(d)).view(np.uint8)
    rows, start = np.arange(COUNT), (32 + a % 8 * 4).astype(np.int64)
    by = (b % 17).astype(np.int64) * 2 - 16

    def at(address: Array, nbytes: int) -> Array:
        return np.sum(
            [memory[rows, address + i].astype(np.uint32) << 8 * i for i in range(nbytes)], 0, np.uint32
        )

    w, x = at(start, 4), signed(at(start + 12, 2)).astype(np.int32).view(np.uint32)
    y, z = at(start + 6, 2), at(start + 8, 4)
    return (w ^ x * 3 ^ y * 5 ^ z * 7) + (8 + by).astype(np.uint32) * 11


def stores(d: Array, a: Array, b: Array) -> Array:
    memory = np.tile(np.arange(64, dtype=np.uint32), (COUNT, 1)).view(np.uint8)
    rows, address = np.arange(COUNT), (32 + a % 8 * 4).astype(np.int64)
    by = (b % 9).astype(np.int64) * 4 - 16
    for value, nbytes, step in ((d, 4, 8), (b, 2, -30), (d, 2, 2), (b, 4, -4), (d, 4, 0)):
        for i in range(nbytes):
            memory[rows, address + i] = value >> 8 * i & 0xFF
        address = address + step
    total = np.zeros(COUNT, np.uint32)
    for column in memory.view(np.uint32).T:
        total = total * 31 + column
    return total + (by - 24).astype(np.uint32) * 11


def loop(d: Array, a: Array, b: Array) -> Array:
    count = np.maximum(a % 6, 1)
    return (d + 2 * count * a * b) ^ 3 * count << 24


def loop_immediate(d: Array, a: Array, b: Array) -> Array:
    return (d + np.uint32(7 + 20 + 1) * a * b) ^ np.uint32(28 << 24)


def loop_nested(d: Array, a: Array, b: Array) -> Array:
    inner, outer = np.maximum(a % 5, 1), np.maximum(b % 4, 1)
    d = (d + outer * (inner + 1) * a * b) ^ 0
    plain = outer * (3 + 16 * inner)
    return (d + outer * inner * a * b) ^ (plain + outer * inner) << 20


#: Programs of firmware/xpulp.c beside the instructions.
OTHERS: dict[str, Reference] = {
    "loads": loads,
    "stores": stores,
    "loop": loop,
    "loop_immediate": loop_immediate,
    "loop_nested": loop_nested,
}
REFUSED = ("unknown", "loop_unseen")


def manifest() -> Manifest:
    call = CallEntry("kernel", "layer", "op", (), ())
    names = [*(i.name for i in INSTRUCTIONS), *OTHERS, *REFUSED]
    tensors = [
        TensorEntry(name, "i32", (COUNT,), "state", "arena", 4 * COUNT * i, 4 * COUNT)
        for i, name in enumerate(("d", "a", "b", "out"))
    ]
    return Manifest(
        name="xpulp",
        options=Options(),
        tensors=tuple(tensors),
        programs=tuple(ProgramEntry(name, (), (), (call,)) for name in names),
        layers=(),
        memory=MemoryEntry(0, 0, 0, 0, 0, 0, 0),
        data_size=16,
        arena_size=16 * COUNT + 8 * 64 * 4,
        data_sha256="",
        build_id="ab" + "00" * 31,
    )


def start(name: str, project: Path) -> Session:
    """Build the firmware of all instructions for a target and run it."""
    target = find_target(name)
    shutil.copy(MODEL, project / "model.c")
    (project / "weights.S").touch()
    (project / "instructions.h").write_text(
        "".join(f'INSTRUCTION({i.name}, ".insn r {i.fields}, %0, %1, {i.rs2}")\n' for i in INSTRUCTIONS)
    )
    strict = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument")
    built = build_firmware(
        target, project, (), project / "firmware.elf", compiler=find_compiler(), flags=strict
    )
    return Session(simulators.start(target, built.path), manifest())


@pytest.fixture(scope="module", params=TARGETS)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with start(request.param, tmp_path_factory.mktemp("xpulp")) as session:
        yield session


def check(session: Session, name: str, reference: Reference, operands: tuple[Operands, ...]) -> None:
    """Every element of ``out`` has the reference's bits."""
    rng = np.random.default_rng(sum(name.encode()))
    d, a, b = (make(rng) for make in operands)
    with np.errstate(all="ignore"):
        want = np.asarray(reference(d, a, b)).astype(np.uint32)
    inputs = {"d": d.view(np.int32), "a": a.view(np.int32), "b": b.view(np.int32)}
    got = session.run(name, inputs, ("out",))["out"].view(np.uint32)
    wrong = np.flatnonzero(got != want)
    shown = "; ".join(
        f"({d[i]:08x}, {a[i]:08x}, {b[i]:08x}) gives {got[i]:08x}, not {want[i]:08x}" for i in wrong[:4]
    )
    assert not len(wrong), f"{len(wrong)} of {COUNT} differ: {shown}"


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda i: i.name)
def test_instruction(session: Session, instruction: Instruction) -> None:
    check(session, instruction.name, instruction.reference, instruction.operands)


@pytest.mark.parametrize("name", OTHERS)
def test_memory_and_loops(session: Session, name: str) -> None:
    check(session, name, OTHERS[name], WORDS)


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("unknown", r"illegal instruction 0xd[2-3][0-9a-f]{6} at 0x8"),
        (
            "loop_unseen",
            r"the hardware loop with the last instruction 0x[0-9a-f]{8} at .*, which is not emulated",
        ),
    ],
)
def test_what_is_not_emulated_is_named(tmp_path: Path, program: str, message: str) -> None:
    with start("qemu-xpulp", tmp_path) as session, pytest.raises(SimulatorError, match=message) as error:
        session.run(program)
    assert "illegal instruction" in str(error.value)
