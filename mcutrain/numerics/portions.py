"""Sums and counts whose order does not depend on how many workers share them.

The elements are cut into eight portions of whole blocks of eight, whoever works
on them; each portion is summed by one worker, and then the portions in order.
``kernels/portions.h`` cuts alike.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mcutrain.numerics.rounding import Float32, canonical

PORTIONS = 8
BLOCK = 8


def portions(count: int) -> list[slice]:
    """The elements of each portion."""
    blocks = -(-count // BLOCK)
    ends = [0]
    for portion in range(PORTIONS):
        ends.append(ends[-1] + blocks // PORTIONS + (portion < blocks % PORTIONS))
    return [slice(min(a * BLOCK, count), min(b * BLOCK, count)) for a, b in pairwise(ends)]


def count_portions(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """How many are chosen in each portion: i32[8]."""
    flat = chosen.reshape(-1)
    return np.array([np.count_nonzero(flat[part]) for part in portions(flat.size)], np.int32)


def dot_portions(a: Float32, b: Float32) -> Float32:
    """Sums of a·b over each portion, f32[8]: eight sums of the elements i mod 8, then those in order.

    Products round, then sums.
    """
    a, b = a.reshape(-1), b.reshape(-1)
    sums: Any = []
    with np.errstate(all="ignore"):
        for part in portions(a.size):
            products = a[part] * b[part]
            rows = np.zeros((1 + -(-products.size // BLOCK), BLOCK), np.float32)
            rows.reshape(-1)[BLOCK : BLOCK + products.size] = products
            sums.append(np.add.accumulate(np.append(np.float32(0), np.add.accumulate(rows)[-1]))[-1])
    return canonical(np.array(sums, np.float32))
