"""What a tile is, and what every family of tiled kernels says about its tiles.

A family is the Python half of one planner in ``kernels/tiled``: which shapes
the kernel takes, which tiles make sense, the bytes of L1 each needs (never
fewer than the kernel takes, tests/ops/test_tile_models.py asks it) and the
cycles it is expected to take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mcutrain.ops.base import FieldValue, align

#: Bytes at the start of L1 that a kernel's workers share (MCT_SHARED).
SHARED = 16
#: Bytes a cycle that the DMA moves, cycles until the first arrives, cycles to ask for a transfer.
DMA_RATE, DMA_START, DMA_ASK = 8, 60, 22
#: Cycles that a dot takes at the least when workers share a floating-point unit.
FPU = 1.0
#: Cycles of a barrier, of a call of the team whose instructions are not in the cache.
BARRIER, CALL = 25, 1400
#: Cycles of a worker to square a sum.
SQUARE = 7


@dataclass(frozen=True)
class Shape:
    """A kernel call's structure: its numbers by name, and which optional operands it has."""

    kernel: str
    #: bytes of an element
    item: int
    numbers: Mapping[str, int]
    bias: bool

    @classmethod
    def of(cls, kernel: str, dtype: str, fields: Mapping[str, FieldValue]) -> Shape:
        numbers = {name: value for name, value in fields.items() if isinstance(value, int)}
        bias = fields.get("bias")
        return cls(kernel, 2 if dtype == "f16" else 4, numbers, bool(bias and getattr(bias, "tensor", "")))

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]


@dataclass(frozen=True)
class Tiling:
    """A call in tiles: what the kernel is told, what it takes and how it goes."""

    #: the fields ``tile_rows`` and ``tile_columns`` of the kernel's structure
    rows: int
    columns: int
    #: bytes of L1, all buffers and tables
    l1: int
    #: what is held in L1, for people
    buffers: str
    #: what goes round inside what, and what the workers share, for people
    order: str
    #: cycles expected of the workers alone, of the DMA alone, of the call
    compute: int
    dma: int
    cycles: int


class Family(Protocol):
    """Tiled kernels with one planner."""

    def takes(self, shape: Shape) -> bool:
        """Whether the kernel works on this shape in tiles, if L1 is large enough."""

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        """Tiles (rows, columns) worth a look; the one that needs the fewest bytes is among them."""

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        """What comes of a tile; more rows or columns than there are means all of them."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def round_up(n: int, multiple: int) -> int:
    return ceil_div(n, multiple) * multiple


def taken(*nbytes: int) -> int:
    """Bytes that one piece of L1 after the other takes (mct_l1_take)."""
    return sum(align(n) for n in nbytes)


def parts(count: int, granule: int = 1) -> Iterator[int]:
    """``count`` in one part, in two, in three …: the sizes of a part, falling, multiples of ``granule``."""
    last = 0
    for n in range(1, ceil_div(count, granule) + 1):
        size = min(round_up(ceil_div(count, n), granule), round_up(count, granule))
        if size != last:
            yield size
        last = size


def transfer(nbytes: int, transfers: int = 1) -> int:
    """Cycles until that many bytes have come in, in transfers that were asked for together."""
    return DMA_START + ceil_div(nbytes, DMA_RATE) + 4 * transfers if nbytes else 0


def sharing(workers: int) -> float:
    """How many workers want the same floating-point unit: there is one for two of the eight."""
    return min(2.0, max(1.0, workers / 4))


def products(workers: int, item: int = 2) -> float:
    """Cycles of a worker for a pair of each of 16 dot products: all instructions, or its share of the FPU.

    ``item`` is the bytes of an element; in binary32 a pair takes two products.
    """
    each = item // 2
    return each * max(16 + 8, sharing(workers) * 16 * FPU)


def squaring(numbers: int, workers: int) -> int:
    """Cycles to add the squares of so many sums, which begin with zeros."""
    return ceil_div(numbers, workers) * SQUARE


def kib(nbytes: int) -> str:
    return f"{nbytes / 1024:.1f} KiB" if nbytes >= 1024 else f"{nbytes} B"


def held(*buffers: tuple[str, int, int]) -> str:
    """What, how many, and bytes of each: ``x 2 × 1.5 KiB, y 512 B``."""
    return ", ".join(
        f"{what} {count} × {kib(nbytes)}" if count > 1 else f"{what} {kib(nbytes)}"
        for what, count, nbytes in buffers
    )
