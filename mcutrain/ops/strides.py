"""Strides of contiguous and broadcast tensors, and fewer axes for the same walk over memory."""

from __future__ import annotations

from collections.abc import Sequence

from mcutrain.errors import UnsupportedError
from mcutrain.ir import Node

Shape = tuple[int, ...]

#: Axes a strided kernel walks over (``MCT_RANK`` in kernels/elements.h).
RANK = 6


def contiguous(shape: Shape) -> Shape:
    """Strides in elements of a contiguous tensor."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def broadcast(shape: Shape, to: Shape) -> Shape:
    """Strides with which a contiguous tensor of ``shape`` is read as one of shape ``to``."""
    strides = [0] * (len(to) - len(shape)) + list(contiguous(shape))
    missing = len(to) - len(shape)
    return tuple(0 if a < missing or shape[a - missing] == 1 else s for a, s in enumerate(strides))


def walk(node: Node, dims: Shape, *operands: Shape) -> tuple[Shape, list[Shape]]:
    """Merge axes that are consecutive in every operand; returns RANK dims and each operand's strides.

    Raises UnsupportedError when more than RANK axes remain.
    """
    kept = [axis for axis, d in enumerate(dims) if d != 1]
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in operands]
    for axis in kept:
        if sizes and all(s[-1] == o[axis] * dims[axis] for s, o in zip(strides, operands, strict=True)):
            sizes[-1] *= dims[axis]
            for s, o in zip(strides, operands, strict=True):
                s[-1] = o[axis]
        else:
            sizes.append(dims[axis])
            for s, o in zip(strides, operands, strict=True):
                s.append(o[axis])
    return leading(node, tuple(sizes), 1), [leading(node, tuple(s), 0) for s in strides]


def leading(node: Node, values: Sequence[int], fill: int) -> Shape:
    """``values`` with ``fill`` before them up to RANK entries."""
    if len(values) > RANK:
        raise UnsupportedError(
            f"node '{node.name or node.op}': {node.op} over {len(values)} axes",
            f"reshape the model's tensors to at most {RANK} axes there",
        )
    return (*(fill,) * (RANK - len(values)), *(int(v) for v in values))
