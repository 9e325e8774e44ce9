"""The interface that runs Programs, whoever runs them.

The NumPy reference and a session with a device both implement
:class:`Executor`; everything above (training, evaluation, unlearning) is
written once against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Executor(Protocol):
    """Runs Programs over named tensors.  Arrays have the lowered tensors' shape and dtype."""

    def write(self, tensors: Mapping[str, Array]) -> None:
        """Overwrite persistent tensors (inputs, parameters, state)."""

    def read(self, names: Sequence[str]) -> dict[str, Array]:
        """Copies of tensors; activations are only meaningful right after the call that made them."""

    def run(
        self,
        program: str,
        inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Write ``inputs``, run a Program (or its kernel calls ``[first, last)``), read ``outputs``."""

    def close(self) -> None:
        """Give up the device; a second call does nothing."""


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays have the same dtype, shape and bit patterns."""
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))
    )
