"""Depthwise convolutions with 3 by 3 taps: kernels/tiled/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator

from mcutrain.compiler.tiles.base import (
    BARRIER,
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
#: Cycles of a worker for a pixel of two channels, forward or as input gradient, and as weight gradient; for
#: the rest of two channels of a tile.
_PIXEL, _GRADIENT_PIXEL, _PER_CHANNELS = 44, 58, 90


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
        for rows in parts(_size(shape)[0], _granule(shape)):
            yield rows, shape["channels"]

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        s = shape
        height, width = _size(s)
        rows = round_up(min(rows, height), _granule(s))
        row_step, column_step = _steps(s)
        pixel = s["channels"] * 2
        tall = (rows - 1) * row_step + 1 + 2 * s["dilation_h"]
        wide = (width - 1) * column_step + 1 + 2 * s["dilation_w"]
        x, y = tall * wide * pixel, rows * width * pixel
        gradient = s.kernel == "depthwise_weight_gradient"
        if gradient:
            own = taken(_TAPS * s["channels"] * 4, (height + 1) * width * 4)
        else:
            own = taken(_TAPS * pixel, s["channels"] * 4)
        compute, dma, cycles = _estimate(s, rows, workers)
        return Tiling(
            rows=rows,
            columns=s["channels"],
            l1=SHARED + own + taken(2 * (x + y) + 64),
            buffers=", ".join(
                (
                    held("x", 2, x),
                    held("dy" if gradient else "y", 2, y),
                    held("sums", 1, _TAPS * s["channels"] * 4)
                    if gradient
                    else held("weights", 1, _TAPS * pixel),
                )
            ),
            order=f"{s['batch'] * ceil_div(height, rows)} tiles of rows; workers share pairs of channels",
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


def _estimate(s: Shape, rows: int, workers: int) -> tuple[int, int, int]:
    height, width = _size(s)
    row_step, column_step = _steps(s)
    gradient = s.kernel == "depthwise_weight_gradient"
    pixel = s["channels"] * 2
    wide = (width - 1) * column_step + 1 + 2 * s["dilation_w"]
    channels = ceil_div(s["channels"] // 2, workers)
    work, loads, stores = [], [], []
    for first in range(0, height, rows):
        here = min(rows, height - first)
        tall = (here - 1) * row_step + 1 + 2 * s["dilation_h"]
        work.append(
            channels * (here * width * (_GRADIENT_PIXEL if gradient else _PIXEL) + _PER_CHANNELS)
            + BARRIER
            + DMA_ASK * ceil_div(tall, workers)
        )
        moved = here * width * pixel
        loads.append(transfer(tall * wide * pixel + (moved if gradient else 0), tall))
        stores.append(0 if gradient else transfer(moved))
    work, loads, stores = (part * s["batch"] for part in (work, loads, stores))
    own = transfer(_TAPS * s["channels"] * (4 if gradient else 2))
    total = float(own + loads[0] + stores[-1] + (own if gradient else 0) + CALL)
    for i, cycles in enumerate(work):
        moving = (loads[i + 1] if i + 1 < len(loads) else 0) + (stores[i - 1] if i else 0)
        total += max(cycles, moving)
    return sum(work), sum(loads) + sum(stores) + own, round(total)
