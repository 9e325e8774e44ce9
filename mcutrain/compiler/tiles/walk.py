"""Convolution forward and input gradient: kernels/tiled/walk.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcutrain.compiler.tiles import windows
from mcutrain.compiler.tiles.base import (
    CALL,
    SHARED,
    Shape,
    Tiling,
    ceil_div,
    held,
    parts,
    products,
    round_up,
    taken,
    transfer,
)

#: Bytes at most of struct mct_walk; exactly of a phase, a run and what lies between two runs.
_WALK, _PHASE, _RUN, _SKIP = 256, 48, 20, 8
#: Elements the planner leaves for rounding.
_SPARE = 64
#: Cycles of a worker, beside those for products, for a run, a block of 4 by 4 results, a phase, a step,
#: a row of x that is asked for; for one result outside such blocks, a pair and a run; to copy a pair.
_PER_RUN, _PER_BLOCK, _PER_PHASE, _PER_STEP, _PER_ROW = 19, 98, 460, 1850, 14
_EDGE_PAIR, _EDGE, _COPY = 12, 60, 5


@dataclass(frozen=True)
class _Phase:
    rows: int
    columns: int
    #: (row of x, first column, last column, elements)
    runs: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class _Walk:
    """The geometry that a kernel hands to mct_walk_plan."""

    batch: int
    height: int
    width: int
    channels: int
    out_width: int
    out_channels: int
    groups: int
    depth: int
    row_step: int
    column_step: int
    out_row_step: int
    #: entries the kernel's own lists of phases and runs have
    run_room: int
    phases: tuple[_Phase, ...]

    @property
    def outputs(self) -> int:
        """Channels of the result that a group has; a block of weights is of one group."""
        return self.out_channels // self.groups

    @property
    def runs(self) -> int:
        return sum(len(phase.runs) for phase in self.phases)

    @property
    def copied(self) -> bool:
        """Whether runs cut pairs, so that what four pixels meet is copied."""
        return any(run[3] % 2 for phase in self.phases for run in phase.runs)

    @property
    def pitch(self) -> int:
        """Elements from a row of weights to the next in L1."""
        return round_up(self.depth, 2) if self.copied else self.depth

    @property
    def super_rows(self) -> int:
        return max(phase.rows for phase in self.phases)

    @property
    def window(self) -> tuple[int, int]:
        """Rows of x that a super-row meets, columns of a tile."""
        runs = [run for phase in self.phases for run in phase.runs]
        tall = max(r[0] for r in runs) - min(r[0] for r in runs) + 1
        columns = max(phase.columns for phase in self.phases)
        return tall, (columns - 1) * self.column_step + max(r[2] for r in runs) - min(r[1] for r in runs) + 1


class WalkFamily:
    """``conv2d_forward`` and ``conv2d_input_gradient``."""

    def takes(self, shape: Shape) -> bool:
        if _windows(shape):
            return True
        if shape.kernel == "conv2d_forward":
            if shape["out_width"] < 4:
                return False
        else:
            cut = (
                shape["out_channels"] // shape["groups"] % 2 == 1
                and shape["stride_h"] * shape["stride_w"] > 1
            )
            if cut or shape["width"] < 4 * shape["stride_w"]:
                return False
        walk = _walk(shape)
        if not walk.runs:
            return False
        left = min(run[1] for phase in walk.phases for run in phase.runs)
        return left < walk.width and walk.window[1] > -left

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        if _windows(shape):
            yield from windows.candidates(shape)
            return
        walk = _walk(shape)
        for rows in parts(walk.super_rows):
            for columns in parts(walk.outputs, 4):
                yield rows, min(columns, walk.outputs)

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        if _windows(shape):
            return windows.forward(shape, workers)
        walk = _walk(shape)
        rows = min(rows, walk.super_rows)
        chunk = min(ceil_div(columns, 4) * 4, walk.outputs)
        tiles, chunks = ceil_div(walk.super_rows, rows), walk.groups * ceil_div(walk.outputs, chunk)
        tall, wide = walk.window
        x_row = wide * walk.channels * walk.row_step
        x_tile = max(wide * walk.channels * tall - x_row, 0) + rows * x_row
        y_tile = rows * walk.out_row_step * walk.out_width * walk.out_channels
        places, blocks = (2 if walk.batch * tiles > 1 else 1), (2 if chunks > 1 else 1)
        weights = chunk * walk.pitch
        elements = places * (x_tile + y_tile) + blocks * weights + _SPARE
        tables = SHARED + taken(
            _WALK,
            len(walk.phases) * _PHASE,
            walk.run_room * _RUN,
            walk.out_channels * 4 if shape.kernel == "conv2d_forward" else 0,
            4 * workers * walk.pitch * shape.item if walk.copied else 0,
            (walk.runs + len(walk.phases)) * _SKIP,
        )
        compute, dma, cycles = _estimate(shape, walk, rows, chunk, workers)
        across = "pixels" if chunks == 1 else "pixels, blocks of outputs"
        return Tiling(
            rows=rows,
            columns=chunk,
            l1=tables + taken(elements * shape.item),
            buffers=held(
                ("x", places, x_tile * shape.item),
                ("y", places, y_tile * shape.item),
                ("weights", blocks, weights * shape.item),
            ),
            order=f"{walk.batch * tiles} tiles of rows"
            + (f", {chunks} blocks of weights in each" if chunks > 1 else "")
            + f"; workers share {across}",
            compute=compute,
            dma=dma,
            cycles=cycles,
        )


def _windows(shape: Shape) -> bool:
    return shape.kernel == "conv2d_forward" and windows.applies(shape)


def _walk(shape: Shape) -> _Walk:
    return _forward(shape) if shape.kernel == "conv2d_forward" else _input_gradient(shape)


def _forward(s: Shape) -> _Walk:
    together = s["dilation_w"] == 1 and s["groups"] == 1
    taps = 1 if together else s["kernel_w"]
    runs = []
    for kh in range(s["kernel_h"]):
        for kw in range(taps):
            column = kw * s["dilation_w"] - s["pad_left"]
            last = column + (s["kernel_w"] - 1 if together else 0)
            elements = s["channels"] // s["groups"] * (s["kernel_w"] if together else 1)
            runs.append((kh * s["dilation_h"] - s["pad_top"], column, last, elements))
    return _Walk(
        batch=s["batch"],
        height=s["height"],
        width=s["width"],
        channels=s["channels"],
        out_width=s["out_width"],
        out_channels=s["out_channels"],
        groups=s["groups"],
        depth=s["kernel_h"] * s["kernel_w"] * s["channels"] // s["groups"],
        row_step=s["stride_h"],
        column_step=s["stride_w"],
        out_row_step=1,
        run_room=len(runs),
        phases=(_Phase(s["out_height"], s["out_width"], tuple(runs)),),
    )


def _input_gradient(s: Shape) -> _Walk:
    phases = []
    for row in range(s["stride_h"]):
        for column in range(s["stride_w"]):
            runs = []
            for kh in range(s["kernel_h"]):
                for kw in range(s["kernel_w"]):
                    down = row + s["pad_top"] - kh * s["dilation_h"]
                    right = column + s["pad_left"] - kw * s["dilation_w"]
                    if down % s["stride_h"] == 0 and right % s["stride_w"] == 0:
                        at = right // s["stride_w"]
                        runs.append((down // s["stride_h"], at, at, s["out_channels"] // s["groups"]))
            phases.append(
                _Phase(
                    max(0, ceil_div(s["height"] - row, s["stride_h"])),
                    max(0, ceil_div(s["width"] - column, s["stride_w"])),
                    tuple(runs),
                )
            )
    taps = s["kernel_h"] * s["kernel_w"]
    return _Walk(
        batch=s["batch"],
        height=s["out_height"],
        width=s["out_width"],
        channels=s["out_channels"],
        out_width=s["width"],
        out_channels=s["channels"],
        groups=s["groups"],
        depth=taps * s["out_channels"] // s["groups"],
        row_step=1,
        column_step=1,
        out_row_step=s["stride_h"],
        run_room=len(phases) * taps,
        phases=tuple(phases),
    )


def _share(shape: Shape, phase: _Phase, copied: bool, rows: int, count: int, workers: int) -> float:
    """Cycles of the worker that has most, for ``rows`` rows of a phase and ``count`` outputs."""
    if rows <= 0 or not phase.columns:
        return 0.0
    pairs = ceil_div(sum(run[3] for run in phase.runs), 2)
    runs = 1 if copied else len(phase.runs)
    across = 4 if phase.columns >= 4 else 1
    blocks, fours = ceil_div(phase.columns, across), ceil_div(count, 4)
    group = fours
    while group > 1 and rows * blocks * ceil_div(fours, group) < 4 * workers:
        group = ceil_div(group, 2)
    items = ceil_div(rows * blocks * ceil_div(fours, group), workers)
    if across < 4 or shape["activation"] == 2 if "activation" in shape.numbers else across < 4:
        fast, slow = 0, min(4 * group, count) * across
    else:
        fast, slow = min(group, count // 4), (count % 4) * across * (1 if group == fours else 0)
    block = pairs * products(workers, shape.item) + runs * _PER_RUN + _PER_BLOCK
    copying = across * pairs * _COPY if copied else 0
    return items * (fast * block + slow * (pairs * _EDGE_PAIR + runs * _EDGE) + copying) + _PER_PHASE


def _estimate(shape: Shape, walk: _Walk, rows: int, chunk: int, workers: int) -> tuple[int, int, int]:
    """Cycles of the workers, of the DMA, of both together, where transfers hide behind compute."""
    tall, wide = walk.window
    each = ceil_div(walk.outputs, chunk)  # blocks of weights of a group
    tiles, chunks = ceil_div(walk.super_rows, rows), walk.groups * each
    item, pitch = shape.item, walk.out_width * walk.out_channels * shape.item
    compute = dma = 0.0
    steps: list[tuple[float, float]] = []
    load: list[float] = []  # of each step: what must be there before it
    for tile in range(tiles):
        here = min(rows, walk.super_rows - tile * rows)
        x_rows = min((here - 1) * walk.row_step + tall, walk.height)
        x_bytes = x_rows * min(wide, walk.width) * walk.channels * item
        for c in range(chunks):
            count = min(chunk, walk.outputs - c % each * chunk)
            need = transfer(x_bytes, x_rows) if c == 0 else 0
            if chunks > 1 or tile == 0:
                need += transfer(count * walk.depth * item)
            ask = _PER_ROW * (x_rows if c == chunks - 1 and tile + 1 < tiles else 1)
            work = sum(
                _share(shape, phase, walk.copied, min(here, phase.rows - tile * rows), count, workers)
                for phase in walk.phases
            )
            steps.append((work + ask + _PER_STEP, count))
            load.append(need)
    total, store = load[0], 0.0
    for n in range(walk.batch):
        for i, (work, _) in enumerate(steps):
            following = load[i + 1] if i + 1 < len(steps) else (load[0] if n + 1 < walk.batch else 0.0)
            moving = following + (store if i % chunks == 0 else 0.0)
            compute, dma = compute + work, dma + moving
            total += max(work, moving)
            if i % chunks == 0:
                tile = i // chunks
                here = min(rows, walk.super_rows - tile * rows) * walk.out_row_step
                store = transfer(here * pitch)
    return round(compute), round(dma + load[0] + store), round(total + store + CALL)
