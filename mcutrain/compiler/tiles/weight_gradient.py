"""Weight gradient of a convolution: kernels/tiled/conv2d_weight_gradient.c."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcutrain.compiler.tiles import windows
from mcutrain.compiler.tiles.base import (
    BARRIER,
    CALL,
    DMA_ASK,
    DMA_START,
    SHARED,
    Shape,
    Tiling,
    ceil_div,
    held,
    parts,
    products,
    round_up,
    squaring,
    taken,
    transfer,
)

#: Bytes at most of struct turn and the copy of the arguments; exactly of a run and a start.
_TURN, _RUN, _START = 256, 12, 12
#: Cycles of a worker, beside those for products, for a run, a block of 4 by 4 sums, a walk along them, a
#: step; to turn four elements, or one of a window, and a row of a line.
_PER_RUN, _PER_BLOCK, _PER_WALK, _PER_STEP = 13, 29, 150, 160
_TURN_FOUR, _TURN_ONE, _TURN_ROW = 23, 6, 29


@dataclass(frozen=True)
class _Lines:
    """How x and dy lie in L1 once they are turned."""

    whole_windows: bool
    sets: int
    set_lines: int
    wide: int
    taps: int
    depth: int

    @classmethod
    def of(cls, s: Shape) -> _Lines:
        depth = s["kernel_h"] * s["kernel_w"] * s["channels"]
        if s["channels"] % 4:
            return cls(True, 1, round_up(depth, 4), s["out_width"], 1, depth)
        last = (s["kernel_w"] - 1) * s["dilation_w"]
        wide = round_up(s["out_width"] + last // s["stride_w"], 2)
        taps = s["kernel_h"] * s["kernel_w"]
        return cls(False, min(s["stride_w"], last + 1), s["channels"], wide, taps, depth)


def _in_rows(s: Shape, rows: int) -> int:
    return (rows - 1) * s["stride_h"] + (s["kernel_h"] - 1) * s["dilation_h"] + 1


class WeightGradientFamily:
    """``conv2d_weight_gradient``."""

    def takes(self, shape: Shape) -> bool:
        return windows.applies(shape) or (shape["groups"] == 1 and shape["out_width"] % 2 == 0)

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        if windows.applies(shape):
            yield from windows.candidates(shape)
            return
        for rows in parts(shape["out_height"]):
            for columns in parts(round_up(shape["out_channels"], 4), 4):
                yield rows, columns

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        if windows.applies(shape):
            return windows.weight_gradient(shape, rows, workers)
        s, lines, item = shape, _Lines.of(shape), shape.item
        outputs = round_up(s["out_channels"], 4)
        rows, chunk = min(rows, s["out_height"]), min(round_up(columns, 4), outputs)
        tiles, chunks = ceil_div(s["out_height"], rows), ceil_div(outputs, chunk)
        line_rows = rows if lines.whole_windows else _in_rows(s, rows)
        dy_line = rows * s["out_width"]
        x_raw = min(_in_rows(s, rows), s["height"]) * s["width"] * s["channels"] * item
        dy_raw = dy_line * s["out_channels"] * item
        x_lines = lines.sets * lines.set_lines * line_rows * lines.wide * item
        dy_lines = outputs * dy_line * item
        acc = chunk * round_up(lines.depth, 4) * 4
        # squares need the accumulators when x and dy have been used, or have been turned
        places = 2 if chunks > 1 and not s["squares"] else 1
        # once it is turned, a single tile makes room for the second block of accumulators
        if places == 2 and chunk == 4 and tiles * s["batch"] == 1 and taken(x_raw, dy_raw) >= acc:
            places = 1
        tables = (
            (rows + 1) * _RUN,
            (s["kernel_w"] + s["stride_w"]) * _START,
            lines.taps * 4,
        )
        compute, dma, cycles = _estimate(s, lines, rows, chunk, workers)
        return Tiling(
            rows=rows,
            columns=chunk,
            l1=SHARED + taken(_TURN, *tables, x_raw, dy_raw, x_lines, dy_lines, *[acc] * places),
            buffers=held(
                ("x", 1, x_raw),
                ("dy", 1, dy_raw),
                ("turned", 1, x_lines + dy_lines),
                ("sums", places, acc),
            ),
            order=f"{s['batch'] * tiles} tiles of rows"
            + (f", {chunks} blocks of sums in each" if chunks > 1 else "")
            + "; workers share blocks of 4 × 4 sums",
            compute=compute,
            dma=dma,
            cycles=cycles,
        )


def _turning(s: Shape, lines: _Lines, rows: int, workers: int) -> float:
    """Cycles to turn a tile."""
    line_rows = rows if lines.whole_windows else _in_rows(s, rows)
    both = 1 if lines.whole_windows else 2
    items = ceil_div(lines.sets * lines.set_lines // both * line_rows, workers)
    each = lines.wide * (_TURN_ONE if lines.whole_windows else _TURN_FOUR / 2) + _TURN_ROW
    pixels = rows * s["out_width"]
    dy = ceil_div(ceil_div(s["out_channels"], 2), workers) * (pixels * _TURN_FOUR / 2 + _TURN_ROW)
    return items * each + dy + 2 * BARRIER


def _products(s: Shape, lines: _Lines, rows: int, outputs: int, workers: int) -> float:
    """Cycles for a tile's products with ``outputs`` output channels."""
    tap_blocks = lines.set_lines // 4
    items = ceil_div(outputs // 4 * lines.taps * tap_blocks, workers)
    pair = products(workers, s.item)
    each = rows * (s["out_width"] // 2 * pair + _PER_RUN) + _PER_BLOCK
    return items * each + ceil_div(items, tap_blocks) * _PER_WALK


def _estimate(s: Shape, lines: _Lines, rows: int, chunk: int, workers: int) -> tuple[int, int, int]:
    outputs, item = round_up(s["out_channels"], 4), s.item
    tiles, chunks = ceil_div(s["out_height"], rows), ceil_div(outputs, chunk)
    sums = transfer(chunk * lines.depth * 4, 1 if lines.depth % 4 == 0 else chunk)
    compute = dma = total = 0.0
    if s["squares"]:
        return _estimate_squares(s, lines, rows, chunk, workers)
    for n in range(s["batch"] * tiles):
        tile = n % tiles
        here = min(rows, s["out_height"] - tile * rows)
        raw = min(_in_rows(s, here), s["height"]) * s["width"] * s["channels"] * item
        loading = transfer(raw + here * s["out_width"] * s["out_channels"] * item, 2)
        if n == 0:
            total += loading
        turning = _turning(s, lines, here, workers)
        work = 0.0
        for c in range(chunks):
            products = _products(s, lines, here, min(chunk, outputs - c * chunk), workers) + _PER_STEP
            # worker 0 waits until the sums before have gone, then asks for the next
            work += max(products + sums + 2 * DMA_ASK, 2 * sums) if chunks > 1 else products
        moving = loading + (2 * chunks * sums if chunks > 1 else 0)
        compute, dma = compute + turning + work, dma + moving
        total += turning + max(work, moving)
    return round(compute), round(dma + 2 * sums), round(total + 2 * sums + CALL)


def _estimate_squares(s: Shape, lines: _Lines, rows: int, chunk: int, workers: int) -> tuple[int, int, int]:
    """The same where sums are squared: all tiles pass once for each block of sums."""
    outputs = round_up(s["out_channels"], 4)
    tiles, chunks = ceil_div(s["out_height"], rows), ceil_div(outputs, chunk)
    sums = transfer(chunk * lines.depth * 4, 1 if lines.depth % 4 == 0 else chunk)
    one = tiles * s["batch"] == 1
    compute = dma = total = 0.0
    for c in range(chunks):
        block = min(chunk, outputs - c * chunk)
        for n in range(s["batch"] * tiles):
            here = min(rows, s["out_height"] - n % tiles * rows)
            raw = min(_in_rows(s, here), s["height"]) * s["width"] * s["channels"] * s.item
            loading = transfer(raw + here * s["out_width"] * s["out_channels"] * s.item, 2)
            work = _products(s, lines, here, block, workers) + _PER_STEP
            if c == 0 or not one:
                turning = _turning(s, lines, here, workers)
                compute, dma = compute + turning, dma + loading
                total += turning + (loading if n == 0 else max(0.0, loading - work))
            compute += work
            total += work
        squares = squaring(block * lines.depth, workers)
        compute += squares
        dma += 2 * sums
        total += squares + 3 * BARRIER + (0 if one else 4 * DMA_START)
    return round(compute), round(dma), round(total + 2 * sums + CALL)
