"""Tiles of the kernels in ``kernels/tiled``: what fits L1 and what it costs.

``tilings`` lists what a kernel call can be told, best first; ``tiling`` says
what becomes of one tile.
"""

from __future__ import annotations

from functools import lru_cache

from mcutrain.compiler.tiles.base import Family, Shape, Tiling
from mcutrain.compiler.tiles.dense import DenseFamily, DenseInputGradientFamily, DenseWeightGradientFamily
from mcutrain.compiler.tiles.depthwise import DepthwiseFamily
from mcutrain.compiler.tiles.walk import WalkFamily
from mcutrain.compiler.tiles.weight_gradient import WeightGradientFamily
from mcutrain.ops import KernelCall

FAMILIES: dict[str, Family] = {
    "conv2d_forward": WalkFamily(),
    "conv2d_input_gradient": WalkFamily(),
    "conv2d_weight_gradient": WeightGradientFamily(),
    "dense": DenseFamily(),
    "dense_input_gradient": DenseInputGradientFamily(),
    "dense_weight_gradient": DenseWeightGradientFamily(),
    "depthwise_forward": DepthwiseFamily(),
    "depthwise_input_gradient": DepthwiseFamily(),
    "depthwise_weight_gradient": DepthwiseFamily(),
}


def takes(call: KernelCall) -> bool:
    """Whether there is a tiled kernel for this call's shape."""
    family = FAMILIES.get(call.kernel)
    return family is not None and family.takes(_shape(call))


def tiling(call: KernelCall, rows: int, columns: int, workers: int) -> Tiling:
    """What becomes of a call that :func:`takes` in tiles of ``rows`` and ``columns``, both at least 1."""
    return FAMILIES[call.kernel].tiling(_shape(call), rows, columns, workers)


def tilings(call: KernelCall, workers: int) -> tuple[Tiling, ...]:
    """All tiles worth a look for a call that :func:`takes`, whether they fit or not; the quickest first."""
    shape = _shape(call)
    key = tuple(sorted(shape.numbers.items()))
    return _tilings(shape.kernel, shape.item, key, shape.bias, workers)


@lru_cache(maxsize=4096)
def _tilings(
    kernel: str, item: int, numbers: tuple[tuple[str, int], ...], bias: bool, workers: int
) -> tuple[Tiling, ...]:
    family, shape = FAMILIES[kernel], Shape(kernel, item, dict(numbers), bias)
    found = {
        (t.rows, t.columns): t
        for rows, columns in family.candidates(shape)
        for t in (family.tiling(shape, rows, columns, workers),)
    }
    return tuple(sorted(found.values(), key=lambda t: (t.cycles, t.l1, t.rows, t.columns)))


def _shape(call: KernelCall) -> Shape:
    ignored = ("tile_rows", "tile_columns", "workspace_stride")
    fields = {name: value for name, value in call.fields.items() if name not in ignored}
    return Shape.of(call.kernel, call.dtype, fields)


__all__ = ["FAMILIES", "Family", "Shape", "Tiling", "takes", "tiling", "tilings"]
