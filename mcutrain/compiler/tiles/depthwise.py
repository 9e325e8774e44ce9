"""Depthwise convolutions with 3 by 3 taps: kernels/tiled/depthwise.h."""

from __future__ import annotations

from collections.abc import Iterator

from mcutrain.compiler.tiles.base import CALL, Shape, Tiling, ceil_div, held, parts, transfer
from mcutrain.ops.depthwise_plan import PART, DepthwisePlan, granule, plan, takes

#: Cycles of a worker for a result of two channels: as it goes down, otherwise, for a bias, of the weight
#: gradient; for two channels of a tile, for a tile.
_DOWN_PIXEL, _PIXEL, _BIAS, _GRADIENT_PIXEL = 24, 44, 4, 31.5
_PER_CHANNELS, _GRADIENT_PER_CHANNELS, _PER_TILE = 110, 170, 230


class DepthwiseFamily:
    """``depthwise_forward``, ``depthwise_input_gradient`` and ``depthwise_weight_gradient``."""

    def takes(self, shape: Shape) -> bool:
        return shape.item == 2 and takes(shape.kernel, shape.numbers)

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        channels = shape["channels"]
        height = shape["height" if shape.kernel == "depthwise_input_gradient" else "out_height"]
        for rows in parts(height, granule(shape.kernel, shape.numbers)):
            yield rows, channels
            for part in parts(channels, PART):
                if part < channels and channels % part == 0:
                    yield rows, part

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        made = plan(shape.kernel, shape.numbers, shape.bias, rows, columns)
        compute, dma, cycles = _estimate(made, shape.bias, workers)
        tiles = made.batch * ceil_div(made.out_height, made.rows)
        return Tiling(
            rows=made.rows,
            columns=made.part,
            l1=made.l1,
            buffers=held(
                ("x", 2, 2 * made.x_size),
                ("dy" if made.y_in else "y", 2, 2 * made.y_size),
                ("sums" if made.y_in else "weights", 1, made.own_bytes),
            ),
            order=f"{tiles} tiles of rows, {made.channels // made.part} parts of the channels in each; "
            "workers share pairs of channels",
            compute=compute,
            dma=dma,
            cycles=cycles,
        )


def _estimate(p: DepthwisePlan, bias: bool, workers: int) -> tuple[int, int, int]:
    """Cycles of the workers, of the DMA, of the call."""
    channels = ceil_div(p.part // 2, workers)
    per_pixel = _GRADIENT_PIXEL if p.y_in else (_DOWN_PIXEL if p.down else _PIXEL) + (_BIAS if bias else 0)
    work, loads, stores = [], [], []
    for first in range(0, p.out_height, p.rows):
        here = min(p.rows, p.out_height - first)
        # of results between columns, too, when it goes down
        results = (p.out_width - 1) * p.high + here + 2 if p.down else here * p.out_width
        each = results * per_pixel + (_GRADIENT_PER_CHANNELS if p.y_in else _PER_CHANNELS)
        y = here * p.out_width * p.part * 2
        for _ in range(p.channels // p.part):
            work.append(round(channels * each) + _PER_TILE)
            loads.append(transfer(p.x_size * 2 + (y if p.y_in else 0), p.wide))
            stores.append(0 if p.y_in else transfer(y, p.out_width))
    work, loads, stores = (steps * p.batch for steps in (work, loads, stores))
    own = transfer(p.own_bytes)
    total = float(own + loads[0] + stores[-1] + (own if p.y_in else 0) + CALL)
    for i, cycles in enumerate(work):
        moving = (loads[i + 1] if i + 1 < len(loads) else 0) + (stores[i - 1] if i else 0)
        total += max(cycles, moving)
    return sum(work), sum(loads) + sum(stores) + own, round(total)
