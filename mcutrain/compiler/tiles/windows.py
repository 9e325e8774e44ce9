"""First layers, whose x has few channels: kernels/tiled/windows_forward.h and windows_weight_gradient.h.

All of x is in L1, padded; the convolution is a product of windows that are put together there.
"""

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
    products,
    round_up,
    squaring,
    taken,
    transfer,
)
from mcutrain.compiler.tiles.dense import BIAS, PAIRING, PER_BLOCK, PER_ROWS, TN_BYTES, tn_kept, tn_share
from mcutrain.ops.base import align

#: Elements of a row of a window from which on other ways are taken (MCT_WINDOWS_NARROW).
_NARROW = 16
_WORKERS, _ROWS = 8, 4
#: Cycles of a worker to put an element of a window in its place, a row of a window; for a tile.
_ELEMENT, _ROW, _PER_TILE = 1.6, 8, 1300


def applies(s: Shape) -> bool:
    """Whether the kernels take this way, if L1 is large enough."""
    narrow = s.item == 2 and s["batch"] == 1 and s["groups"] == 1 and s["dilation_w"] == 1
    if s.kernel == "conv2d_weight_gradient" and s["out_channels"] % 4:
        return False
    return narrow and s["kernel_w"] * s["channels"] < _NARROW


def candidates(s: Shape) -> Iterator[tuple[int, int]]:
    """Rows of results whose windows are in L1 together, for the weight gradient; all else is whole."""
    for rows in parts(s["out_height"]) if s.kernel == "conv2d_weight_gradient" else (s["out_height"],):
        yield rows, s["out_channels"]


def forward(s: Shape, workers: int) -> Tiling:
    raw, padded = _x(s)
    depth = s["kernel_h"] * s["kernel_w"] * s["channels"]
    pitch, outputs = round_up(depth, 2), s["out_channels"]
    weights = [outputs * pitch * 2] + ([outputs * depth * 2] if pitch != depth else [])
    own = align((_ROWS * pitch + 2) * 2) + 2 * align(_ROWS * outputs * 2)
    pixels = s["out_height"] * s["out_width"]
    loading = transfer(raw + outputs * depth * 2, 2)
    most = ceil_div(ceil_div(pixels, _ROWS), workers)
    block = pitch / 2 * products(workers) + PER_BLOCK + (BIAS if s.bias else 0)
    each = _ROWS * _gathering(s) + ceil_div(outputs, 4) * block + PER_ROWS
    compute = most * (each + 2 * DMA_ASK) + ceil_div(padded // 2, workers) + 3 * BARRIER
    moved = pixels * outputs * 2
    return Tiling(
        rows=s["out_height"],
        columns=outputs,
        l1=SHARED + taken(raw, padded, *weights, outputs * 4, _WORKERS * own),
        buffers=held(
            ("x", 1, raw),
            ("padded", 1, padded),
            ("weights", 1, sum(weights)),
            ("windows and y", _WORKERS, own),
        ),
        order="fours of pixels; workers share them",
        compute=round(compute),
        dma=round(loading + transfer(moved)),
        cycles=round(loading + max(compute, moved / 8) + CALL),
    )


def weight_gradient(s: Shape, rows: int, workers: int) -> Tiling:
    raw, padded = _x(s)
    rows = min(rows, s["out_height"])
    depth = s["kernel_h"] * s["kernel_w"] * s["channels"]
    pitch, outputs = round_up(depth, 4), s["out_channels"]
    pairs = ceil_div(rows * s["out_width"], 2)
    tiles = ceil_div(s["out_height"], rows)
    loading = transfer(raw)
    compute, dma, total = float(BARRIER), float(loading), float(loading + CALL)
    if s["squares"]:
        compute, total = (
            compute + squaring(outputs * pitch, workers),
            total + squaring(outputs * pitch, workers),
        )
    kept = tn_kept(outputs, pitch) if s["squares"] and tiles > 1 else 0
    for first in range(0, s["out_height"], rows):
        pixels = min(rows, s["out_height"] - first) * s["out_width"]
        gathering = ceil_div(pixels, workers) * (_gathering(s) + (pitch + outputs) / 4 * PAIRING)
        share, pieces = tn_share(outputs, pitch, ceil_div(pixels, 2), workers)
        bringing = transfer(pixels * outputs * 2, workers)
        moved = 2 * outputs * depth * 4
        compute += gathering + share + _PER_TILE
        dma += bringing + moved / 8
        total += max(gathering, bringing) + max(share, moved / 8) + transfer(moved // max(pieces, 1))
        total += _PER_TILE
    return Tiling(
        rows=rows,
        columns=outputs,
        l1=SHARED + taken(raw, padded, TN_BYTES, kept) + 64 + pairs * 2 * (pitch + outputs) * 2,
        buffers=held(
            ("x", 1, raw),
            ("padded", 1, padded),
            ("windows", 1, 2 * pairs * pitch * 2),
            ("dy", 1, 2 * pairs * outputs * 2),
            ("sums", 1, TN_BYTES + kept),
        ),
        order=f"{tiles} tiles of rows, pieces of sums in each; workers share pieces",
        compute=round(compute),
        dma=round(dma),
        cycles=round(total),
    )


def _x(s: Shape) -> tuple[int, int]:
    """Bytes of x as it comes, and padded."""
    tall = (s["out_height"] - 1) * s["stride_h"] + (s["kernel_h"] - 1) * s["dilation_h"] + 1
    wide = ((s["out_width"] - 1) * s["stride_w"] + s["kernel_w"]) * s["channels"]
    return s["height"] * s["width"] * s["channels"] * 2, (tall * round_up(wide, 2) + 2) * 2


def _gathering(s: Shape) -> float:
    """Cycles to put the window of a pixel together."""
    return s["kernel_h"] * (s["kernel_w"] * s["channels"] * _ELEMENT + _ROW)
