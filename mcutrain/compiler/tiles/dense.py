"""Matrix products: kernels/tiled/dense.c, dense_input_gradient.c, dense_weight_gradient.c."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

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
from mcutrain.ops.base import align

#: Workers the kernels make room for; rows of a block.
_WORKERS, _ROWS = 8, 4
#: Elements of a row of weights that come at a time when there are few rows.
_CHUNK_DEPTH = 128
#: Rows of a piece of the accumulators, numbers along it at most, pieces a worker has in L1; bytes of all.
_TN_ROWS, _TN_ALONG, _TN_PLACES = 4, 32, 3
TN_BYTES = _WORKERS * _TN_PLACES * (_TN_ROWS * _TN_ALONG * 4 + 16)
#: Cycles of a worker for a block of 4 by 4 results, its bias, a block of rows; a call with few rows, a pair
#: of each of four products in it; a block of the gradient, a piece; to pair four elements.
PER_BLOCK, BIAS, PER_ROWS = 44, 55, 455
_FEW_ROWS, _PER_FOUR, _PER_SUMS, _PER_PIECE, PAIRING = 1000, 10, 45, 325, 7
#: Cycles to pair two elements in place; for a pair of four products with few rows, of which
#: the right side is paired, too; rows of w that come at a time then.
PAIRING_IN_PLACE, _PER_FEW_FOUR, _DEEP = 3, 13, 32


def _along(columns: int, pitch: int) -> int:
    """Numbers along a piece of acc[columns][pitch]."""
    halves = 0
    while True:
        along = round_up(ceil_div(pitch, 1 << halves), 4)
        if along <= _TN_ALONG and (along <= 8 or (columns // _TN_ROWS << halves) % 8 == 0):
            return along
        halves += 1


def tn_kept(columns: int, pitch: int) -> int:
    """Bytes of all sums, which are kept when rows come in several tiles and sums are squared."""
    along = _along(columns, pitch)
    return (columns * ceil_div(pitch, along) * along + 4) * 4


def tn_share(columns: int, pitch: int, pairs: int, workers: int) -> tuple[float, int]:
    """Cycles of the worker that has most of the pieces of acc[columns][pitch], over pairs of rows; pieces."""
    along = _along(columns, pitch)
    pieces = columns // _TN_ROWS * ceil_div(pitch, along)
    each = along // 4 * (pairs * products(workers) + _PER_SUMS) + _PER_PIECE
    return ceil_div(pieces, workers) * each, pieces


class DenseFamily:
    """``dense``: the rows of w, and y's columns, in tiles; with few rows of x nothing is to choose."""

    def takes(self, shape: Shape) -> bool:
        return shape.item == 2 and shape["depth"] % 2 == 0 and shape["depth"] <= 2048

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        if shape["rows"] < _ROWS:
            yield shape["rows"], shape["columns"]
            return
        for columns in parts(shape["columns"], 8):
            yield shape["rows"], min(columns, shape["columns"])

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        s = shape
        if s["rows"] < _ROWS:
            return _few_rows(s, workers)
        columns = min(columns, s["columns"])
        row = s["depth"] * 2
        column = row + 4 + _WORKERS * 2 * _ROWS * 2
        others = _WORKERS * 2 * taken(_ROWS * row) + (2 + 2 * _WORKERS) * 16
        compute, dma, cycles = _many_rows(s, columns, workers)
        count = ceil_div(s["columns"], columns)
        return Tiling(
            rows=s["rows"],
            columns=columns,
            l1=SHARED + taken(others + max(8, min(round_up(columns, 8), s["columns"])) * column),
            buffers=held(
                ("weights", 1, columns * row),
                ("x", 2 * _WORKERS, _ROWS * row),
                ("y", 2 * _WORKERS, _ROWS * columns * 2),
            ),
            order=f"{s['batch'] * count} tiles of columns, fours of rows in each; workers share rows",
            compute=compute,
            dma=dma,
            cycles=cycles,
        )


def _many_rows(s: Shape, columns: int, workers: int) -> tuple[int, int, int]:
    compute = dma = total = 0.0
    row = s["depth"] * 2
    blocks = ceil_div(s["rows"], _ROWS)
    for first in range(0, s["columns"], columns):
        here = min(columns, s["columns"] - first)
        weights = transfer(here * row)
        block = s["depth"] / 2 * products(workers) + PER_BLOCK + (BIAS if s.bias else 0)
        work, visits = _most_blocks(s["rows"], here, workers)
        most = work * block + visits * (PER_ROWS + 3 * DMA_ASK)
        moved = blocks * _ROWS * (row + here * 2)
        compute += most
        dma += weights + moved / 8
        total += (
            weights + max(most, moved / 8) + transfer(workers * _ROWS * row) + transfer(8 * here * workers)
        )
        total += 2 * BARRIER
    n = s["batch"]
    return round(compute * n), round(dma * n), round(total * n + CALL)


def _most_blocks(rows: int, columns: int, workers: int) -> tuple[float, int]:
    """Blocks of 4 by 4 results of the worker that has most, and how many fours of rows they are of."""
    across, left = ceil_div(columns, 4), rows % _ROWS
    fours = ceil_div(ceil_div(rows, _ROWS), workers)
    cut = (rows // _ROWS * across + across * left * 3 // 8) / workers
    if columns % 4 or workers != _WORKERS or fours * across <= cut + 1:
        return fours * across, fours
    return ceil(cut), ceil_div(ceil(cut), across) + 1


def _few_rows(s: Shape, workers: int) -> Tiling:
    chunk = _CHUNK_DEPTH
    x, w = s["rows"] * s["depth"] * 2, 4 * chunk * 2
    fours = ceil_div(s["columns"], 4)
    most = ceil_div(fours, workers)
    each = s["rows"] * (s["depth"] / 2 * _PER_FOUR + 60) + ceil_div(s["depth"], chunk) * (DMA_ASK + 60)
    moved = s["columns"] * s["depth"] * 2
    compute, dma = most * each, transfer(x) + moved / 8 + fours * 20
    total = transfer(x) + transfer(w * min(workers, fours)) + max(most * each, dma) + _FEW_ROWS + CALL
    n = s["batch"]
    return Tiling(
        rows=s["rows"],
        columns=s["columns"],
        l1=SHARED + taken(x) + _WORKERS * 2 * w,
        buffers=held(("x", 1, x), ("weights", 2 * _WORKERS, w)),
        order=f"{n * fours} blocks of four columns; workers share them",
        compute=round(compute * n),
        dma=round(dma * n),
        cycles=round(total * n),
    )


class DenseInputGradientFamily(DenseFamily):
    """``dense_input_gradient``: columns in fours, of w and dx; with few rows each worker has its own."""

    def takes(self, shape: Shape) -> bool:
        return super().takes(shape) and shape["columns"] % 4 == 0

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        s = shape
        if s["rows"] < _ROWS:
            return _few_rows_of_gradient(s, workers)
        columns = round_up(min(columns, s["columns"]), 4)
        found = super().tiling(s, rows, columns, workers)
        # pairs are made of a half of each share while the other comes
        pairing = s["depth"] // 2 * s["columns"] / 2 * PAIRING_IN_PLACE / workers
        return replace(
            found,
            compute=found.compute + round(pairing * s["batch"]),
            cycles=found.cycles + round(pairing * 2 / 3 * s["batch"]),
        )


def _few_rows_of_gradient(s: Shape, workers: int) -> Tiling:
    x, most = s["rows"] * s["depth"] * 2, ceil_div(s["columns"] // 4, workers) * 4
    # a worker's sums, and its columns of some rows of w, twice
    part = min(_DEEP, s["depth"]) * most * 2
    own = s["rows"] * most * 4 + 2 * part
    pairs, moved = s["rows"] * s["depth"] / 2, s["columns"] * s["depth"] * 2
    each = pairs * _PER_FEW_FOUR + s["rows"] * ceil_div(s["depth"], _DEEP) * 35
    compute, dma = most / 4 * each, transfer(x) + moved / 8 + s["depth"] * 4
    n = s["batch"]
    return Tiling(
        rows=s["rows"],
        columns=s["columns"],
        l1=SHARED + taken(x) + _WORKERS * align(own),
        buffers=held(("x", 1, x), ("weights", 2 * _WORKERS, part)),
        order="fours of columns; workers share them",
        compute=round(compute * n),
        dma=round(dma * n),
        cycles=round((max(compute, dma) + transfer(part)) * n + _FEW_ROWS + CALL),
    )


class DenseWeightGradientFamily:
    """``dense_weight_gradient``: the rows of x and dy in tiles."""

    def takes(self, shape: Shape) -> bool:
        return shape.item == 2 and shape["depth"] % 4 == 0 and shape["columns"] % _TN_ROWS == 0

    def candidates(self, shape: Shape) -> Iterator[tuple[int, int]]:
        for rows in parts(shape["rows"], 2):
            yield rows, shape["columns"]

    def tiling(self, shape: Shape, rows: int, columns: int, workers: int) -> Tiling:
        s = shape
        rows = round_up(min(rows, s["rows"]), 2)
        x, dy = rows * s["depth"] * 2, rows * s["columns"] * 2
        tiles = ceil_div(s["rows"], rows)
        compute = dma = total = 0.0
        if s["squares"]:
            compute = total = float(squaring(s["columns"] * s["depth"], workers))
        kept = tn_kept(s["columns"], s["depth"]) if s["squares"] and tiles > 1 else 0
        for first in range(0, s["rows"], rows):
            here = round_up(min(rows, s["rows"] - first), 2)
            load = transfer(here * (s["depth"] + s["columns"]) * 2, 2 * workers)
            pairing = ceil_div(here // 2, workers) * (s["depth"] + s["columns"]) / 2 * PAIRING
            share, pieces = tn_share(s["columns"], s["depth"], here // 2, workers)
            moved = 2 * s["columns"] * s["depth"] * 4
            compute += pairing + share
            dma += load + moved / 8
            total += load + pairing + max(share, moved / 8) + 2 * BARRIER
            total += transfer(moved // max(1, ceil_div(pieces, workers)))
        n = s["batch"]
        return Tiling(
            rows=rows,
            columns=s["columns"],
            l1=SHARED + TN_BYTES + 32 + taken(kept) + x + dy,
            buffers=held(("x", 1, x), ("dy", 1, dy), ("sums", 1, TN_BYTES + kept)),
            order=f"{n * tiles} tiles of rows, {pieces} pieces of sums in each; workers share pieces",
            compute=round(compute * n),
            dma=round(dma * n),
            cycles=round(total * n + CALL),
        )
