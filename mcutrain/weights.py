"""Weights from an ONNX file, as a device takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mcutrain.compiler.onnx_io import load_model
from mcutrain.errors import DataError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest


def read_weights(path: Path, manifest: Manifest) -> dict[str, Array]:
    """The parameters of ``manifest`` in another ONNX file of the same model.

    The file goes through the compiler's own import, so what is folded there
    (batch norm, dequantised constants) is folded here too.

    Returns:
        ``{initializer name: float32 array}`` in the ONNX layout, for ``Learner.load``.

    Raises:
        ModelError: the file cannot be read.
        DataError: it lacks a parameter of the model.
    """
    found = {
        tensor.origin.initializer: tensor
        for tensor in load_model(path).parameters
        if tensor.origin is not None and tensor.data is not None
    }
    weights = {}
    for entry in manifest.parameters():
        if entry.origin is None:
            continue
        tensor = found.get(entry.origin.initializer)
        if tensor is None or tensor.data is None or tensor.origin is None:
            raise DataError(
                f"{path} has no weight '{entry.origin.initializer}'",
                f"give a file that comes from the model of build '{manifest.name}'",
            )
        weights[entry.origin.initializer] = tensor.origin.to_onnx(tensor.data).astype(np.float32)
    return weights
