"""Squares of gradients that a kernel adds, against the gradient in a tensor of its own and AddSquares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kernel_harness import WORKERS, check_kernel

from mcutrain.executor import same_bits
from mcutrain.ir import Array, Node, Tensor
from mcutrain.ops import op_for

#: of each operator that can: which input is the accumulator, and which output
ACCUMULATORS = {
    "BiasGradient": (1, 0),
    "Conv2dWeightGradient": (2, 0),
    "DenseWeightGradient": (2, 0),
    "DepthwiseConv2dWeightGradient": (2, 0),
    "ReluBiasGradient": (2, 1),
}


def check_squares(
    op: str,
    inputs: Sequence[Array],
    attrs: Mapping[str, Any] | None = None,
    *,
    workers: Sequence[int] = WORKERS,
    allow_nan: bool = False,
) -> Array:
    """Assert that the kernel adds squares in the bits of Fill, gradient and AddSquares; return the sum."""
    acc, out = ACCUMULATORS[op]
    inplace = {out: acc}
    results = check_kernel(
        op, inputs, {**(attrs or {}), "squares": True}, inplace=inplace, workers=workers, allow_nan=allow_nan
    )
    zeros = [*inputs[:acc], np.zeros_like(inputs[acc]), *inputs[acc + 1 :]]
    apart = check_kernel(op, zeros, attrs, inplace=inplace, workers=workers[:1], allow_nan=allow_nan)
    sizes = inputs[acc].shape
    node = Node("AddSquares", ("acc", "g"), ("acc",))
    (want,) = op_for("AddSquares").compute(node, [inputs[acc], apart[out]], [Tensor("acc", sizes, "f32")])
    assert same_bits(results[out], want)
    for i, other in enumerate(apart):
        assert i == out or same_bits(results[i], other)
    return results[out]


def normal(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def dense(rows: int, columns: int, depth: int, dtype: str = "f2", batch: tuple[int, ...] = ()) -> list[Array]:
    """Operands of DenseWeightGradient."""
    rng = np.random.default_rng(rows + columns + depth)
    x, dy = (normal(rng, *batch, rows, wide, dtype=dtype) for wide in (depth, columns))
    return [x, dy, np.abs(normal(rng, *batch, columns, depth))]


def bias(rows: int, channels: int, dtype: str = "f2") -> list[Array]:
    """Operands of BiasGradient."""
    rng = np.random.default_rng(rows + channels)
    return [normal(rng, rows, channels, dtype=dtype), np.abs(normal(rng, channels))]


def relu_bias(rows: int, channels: int, dtype: str = "f2") -> list[Array]:
    """Operands of ReluBiasGradient."""
    dy, acc = bias(rows, channels, dtype)
    y = np.maximum(normal(np.random.default_rng(7), rows, channels, dtype=dtype), 0)
    return [dy, y, acc]
