"""Weights from files, as a device takes them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mcutrain.compiler.onnx_io import load_model
from mcutrain.errors import DataError, OptionError
from mcutrain.executor import Array
from mcutrain.files import whole_file
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import Manifest, TensorEntry
from mcutrain.npz import read_npz


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


def memories(manifest: Manifest) -> list[TensorEntry]:
    """What a next request to forget needs beside the weights: importances, sums of an analytic head."""
    return [
        t
        for t in manifest.tensors
        if t.name.endswith(".importance") or (t.name.startswith("head.") and t.name != "head.features")
    ]


def read_state(path: Path, manifest: Manifest) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights by initializer name, and :func:`memories` by tensor name, from an ``.npz`` or ONNX file.

    An ONNX file holds no memories, and an ``.npz`` file need not hold all weights.  Raises DataError.
    """
    if path.suffix != ".npz":
        return read_weights(path, manifest), {}
    weights = [entry.origin.initializer for entry in manifest.parameters() if entry.origin]
    states = {t.name: t for t in memories(manifest)}
    found = read_npz(path, [*weights, *states])
    if not set(weights) & set(found):
        raise DataError(f"{path} holds none of the model's weights", f"they are {', '.join(weights)}")
    for name, entry in states.items():
        wanted = (entry.shape, np.dtype(NUMPY_DTYPES[entry.dtype]))
        if name in found and (found[name].shape, found[name].dtype) != wanted:
            raise DataError(
                f"{path}: '{name}' is not {entry.dtype}{list(entry.shape)}", "give a file of this very model"
            )
    return (
        {name: array for name, array in found.items() if name not in states},
        {name: array for name, array in found.items() if name in states},
    )


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, the whole file or nothing."""
    try:
        with whole_file(path) as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror}", "name another file") from None
