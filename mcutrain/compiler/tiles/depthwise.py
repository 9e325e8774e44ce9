"""Depthwise convolutions with 3 by 3 taps: kernels/tiled/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator

from mcutrain.compiler.tiles.base import (
    CALL,
    DMA_ASK,
    SHARED,
    Shape,
    Tiling,
    ceil_div,
    held,
    parts,
    round_up,
    taken,
    transfer,
)

_TAPS = 9
#: Channels of a part of them at least: two for each of eight workers.
_PART = 16
#: Cycles of a worker for a pixel of two channels: as it goes down a column, otherwise, for a bias, as weight
#: gradient; for a column, for the rest of two channels of a tile, for a tile, both also as weight gradient.
_DOWN_PIXEL, _PIXEL, _BIAS, _GRADIENT_PIXEL, _PER_COLUMN = 30, 44, 4, 66, 70
_PER_CHANNELS, _PER_TILE, _GRADIENT_PER_CHANNELS, _GRADIENT_PER_TILE = 130, 700, 635, 300


class DepthwiseFamily:
    """``depthwise_forward``, ``depthwise_input_gradient`` and ``depthwise_weight_gradient``."""

    def takes(self, shape: Shape) -> bool:
        s = shape
        if s.item != 2 or s["kernel_h"] != 3 or s["kernel_w"] != 3 or s["channels"] % 4:
            return False
        if s.kernel == "depthwise_forward":
            return s["activation"] != 2
        if s.kernel == "depthwise_input_gradient":
            return s["stride_h"] == 1 and s["stride_w"] == 1
        return s["dilation_w"] == 1 and (s["batch"] == 1 or s["out_height"] * s["out_width"] % 2 == 0)

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        channels = shape["channels"]
        for rows in parts(_size(shape)[0], _granule(shape)):
            yield rows, channels
            for part in parts(channels, _PART):
                if part < channels and channels % part == 0:
                    yield rows, part

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        s = shape
        height, width = _size(s)
        rows = round_up(min(rows, height), _granule(s))
        row_step, column_step = _steps(s)
        columns = columns if columns < s["channels"] and s["channels"] % columns == 0 else s["channels"]
        pixel = columns * 2
        tall = (rows - 1) * row_step + 1 + 2 * s["dilation_h"]
        wide = (width - 1) * column_step + 1 + 2 * s["dilation_w"]
        x, y = (tall + 1) * wide * pixel, rows * width * pixel
        gradient = s.kernel == "depthwise_weight_gradient"
        if gradient:
            own = taken(_TAPS * s["channels"] * 4, (height + 1) * width * 4)
        else:
            own = taken(_TAPS * s["channels"] * 2, s["channels"] * 4)
        compute, dma, cycles = _estimate(s, rows, columns, workers)
        tiles = s["batch"] * ceil_div(height, rows)
        return Tiling(
            rows=rows,
            columns=columns,
            l1=SHARED + own + taken(2 * (x + y) + 64),
            buffers=", ".join(
                (
                    held("x", 2, x),
                    held("dy" if gradient else "y", 2, y),
                    held("sums", 1, _TAPS * s["channels"] * 4)
                    if gradient
                    else held("weights", 1, _TAPS * s["channels"] * 2),
                )
            ),
            order=f"{tiles} tiles of rows, {s['channels'] // columns} parts of the channels in each; "
            "workers share pairs of channels",
            compute=compute,
            dma=dma,
            cycles=cycles,
        )


def _size(s: Shape) -> tuple[int, int]:
    """Rows and columns of what is walked over: the results, or dy."""
    if s.kernel == "depthwise_input_gradient":
        return s["height"], s["width"]
    return s["out_height"], s["out_width"]


def _steps(s: Shape) -> tuple[int, int]:
    return (1, 1) if s.kernel == "depthwise_input_gradient" else (s["stride_h"], s["stride_w"])


def _granule(s: Shape) -> int:
    """Rows come in multiples of this: pairs of pixels of the weight gradient must not be cut."""
    return 2 if s.kernel == "depthwise_weight_gradient" and s["out_width"] % 2 else 1


def _per_pixel(s: Shape) -> float:
    """Cycles of a worker for a pixel of two channels."""
    if s.kernel == "depthwise_weight_gradient":
        return _GRADIENT_PIXEL / 2
    down = _steps(s)[0] == 1 and s["dilation_h"] == 1
    return (_DOWN_PIXEL if down else _PIXEL) + (_BIAS if s.bias else 0)


def _estimate(s: Shape, rows: int, part: int, workers: int) -> tuple[int, int, int]:
    height, width = _size(s)
    row_step, column_step = _steps(s)
    gradient = s.kernel == "depthwise_weight_gradient"
    pixel = part * 2
    wide = (width - 1) * column_step + 1 + 2 * s["dilation_w"]
    channels = ceil_div(part // 2, workers)
    per_tile = _GRADIENT_PER_TILE if gradient else _PER_TILE
    work, loads, stores = [], [], []
    for first in range(0, height, rows):
        here = min(rows, height - first)
        tall = (here - 1) * row_step + 1 + 2 * s["dilation_h"]
        each = here * width * _per_pixel(s) + width * _PER_COLUMN
        each += _GRADIENT_PER_CHANNELS if gradient else _PER_CHANNELS
        moved = here * width * pixel
        for _ in range(s["channels"] // part):
            work.append(round(channels * each) + per_tile + DMA_ASK * ceil_div(tall, workers))
            loads.append(transfer(tall * wide * pixel + (moved if gradient else 0), tall))
            stores.append(0 if gradient else transfer(moved))
    work, loads, stores = (steps * s["batch"] for steps in (work, loads, stores))
    own = transfer(_TAPS * s["channels"] * (4 if gradient else 2))
    total = float(own + loads[0] + stores[-1] + (own if gradient else 0) + CALL)
    for i, cycles in enumerate(work):
        moving = (loads[i + 1] if i + 1 < len(loads) else 0) + (stores[i - 1] if i else 0)
        total += max(cycles, moving)
    return sum(work), sum(loads) + sum(stores) + own, round(total)
