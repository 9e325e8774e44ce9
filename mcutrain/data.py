"""Samples and labels, checked against the model before a device is touched.

A :class:`Dataset` comes from an ``.npz`` file, from arrays, or by name
(``digits``).  Its samples stay as they are stored and become float32 when they
are read, a few at a time, so a file may be larger than memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from mcutrain.errors import DataError
from mcutrain.manifest import Manifest
from mcutrain.npz import read_npz
from mcutrain.words import counted

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Part = Literal["train", "test"]

#: Names that an ``.npz`` file may hold; x and y of one part suffice.
NAMES = ("x_train", "y_train", "x_test", "y_test", "scale", "zero_point", "group_train")
#: Samples that are converted and checked at a time, in bytes.
_CHUNK_BYTES = 4 << 20


class Samples:
    """Stored samples, read as float32 in the model's shape: an array of ``shape`` (n, …), made on demand.

    ``samples[i]`` is one sample; ``samples[a:b]`` and ``samples[indices]`` are batches.
    The value is ``(stored - zero_point) * scale``.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        stored: Array,
        sample_shape: tuple[int, ...],
        *,
        axes: tuple[int, ...] = (),
        scale: float = 1.0,
        zero_point: float = 0.0,
    ) -> None:
        """``axes`` permutes a stored sample's axes before it takes ``sample_shape``."""
        self._stored = stored
        self._axes = axes
        self._scale = np.float32(scale)
        self._zero_point = np.float32(zero_point)
        self.shape = (len(stored), *sample_shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: SupportsIndex | slice | list[int] | Array) -> Floats:
        single = not isinstance(key, (slice, list, np.ndarray))
        stored = self._stored[[int(key)]] if single else self._stored[key]  # type: ignore[arg-type]
        with np.errstate(over="ignore"):  # becomes an infinity, which the check names
            values = stored.astype(np.float32)
        if self._zero_point:
            values -= self._zero_point
        if self._scale != 1:
            values *= self._scale
        if self._axes:
            values = values.transpose(0, *(axis + 1 for axis in self._axes))
        values = np.ascontiguousarray(values.reshape(len(values), *self.shape[1:]))
        return values[0] if single else values

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self[:].astype(dtype or np.float32, copy=False)

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """All samples in order, a few at a time: index of the first, and the batch."""
        step = max(1, _CHUNK_BYTES // (4 * max(1, math.prod(self.shape[1:]))))
        for start in range(0, len(self), step):
            yield start, self[start : start + step]


@dataclass(frozen=True)
class ModelShape:
    """What a model asks of its data."""

    #: one input sample, without the batch axis
    sample: tuple[int, ...]
    #: one output, without the batch axis
    output: tuple[int, ...]
    #: ``cross-entropy`` takes integer labels, ``mse`` arrays like the output
    loss: str | None

    @classmethod
    def of(cls, manifest: Manifest) -> ModelShape:
        program = manifest.program("infer")
        sample = manifest.tensor("input").shape[1:]
        output = manifest.tensor(program.outputs[0], "infer").shape[1:]
        return cls(sample, output, manifest.options.loss)


@dataclass(frozen=True)
class Dataset:
    """Raw arrays of a training and a test part, and how numbers become values."""

    name: str
    arrays: Mapping[str, Array]
    scale: float = 1.0
    zero_point: float = 0.0

    def samples(self, part: Part, model: ModelShape) -> Samples:
        """The samples of one part in the model's shape; raises DataError."""
        return check_samples(
            self._array(f"x_{part}"),
            model.sample,
            name=f"{self.name}: x_{part}",
            scale=self.scale,
            zero_point=self.zero_point,
        )

    def targets(self, part: Part, model: ModelShape, samples: Samples) -> Array | Samples:
        """Labels (int32) for cross-entropy; for mse, arrays like the model's output.

        Without ``y`` an autoencoder's targets are its inputs.  Raises DataError.
        """
        name = f"{self.name}: y_{part}"
        if model.loss == "mse":
            if f"y_{part}" not in self.arrays and math.prod(model.sample) == math.prod(model.output):
                x = f"x_{part}"
                return check_samples(
                    self._array(x), model.output, name=x, scale=self.scale, zero_point=self.zero_point
                )
            return check_targets(self._array(f"y_{part}"), len(samples), model.output, name)
        return check_labels(self._array(f"y_{part}"), len(samples), math.prod(model.output), name)

    def part(self, part: Part, model: ModelShape) -> tuple[Samples, Array | Samples]:
        """Samples and targets of one part, checked; raises DataError."""
        samples = self.samples(part, model)
        return samples, self.targets(part, model, samples)

    def groups(self) -> Array:
        """Subject, speaker or device of each training sample as text (``group_train``); raises DataError."""
        groups = self._array("group_train")
        count = len(self._array("x_train"))
        if groups.shape != (count,):
            reason = f"{self.name}: group_train has shape {groups.shape}, not ({count},)"
            raise DataError(reason, "give one name or number a sample")
        return groups.astype(str)

    def first(self, count: int) -> Dataset:
        """The same data set with at most ``count`` samples a part."""
        return replace(self, arrays={name: array[:count] for name, array in self.arrays.items()})

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            known = ", ".join(self.arrays) or "no arrays"
            raise DataError(f"{self.name} has no '{name}' (it has {known})", f"add an array called '{name}'")
        return self.arrays[name]


def load(source: str | Path | Mapping[str, Array]) -> Dataset:
    """The data set that ``source`` names: an ``.npz`` path, ``digits``, or arrays by name.

    The names are ``x_train``, ``y_train``, ``x_test``, ``y_test`` and, for samples
    stored as integers, ``scale`` and ``zero_point``: the value is (x − zero_point)·scale.
    A path with a dot or a slash is never taken for a name.

    Raises:
        DataError: there is no such data, or the file is damaged.
    """
    if isinstance(source, Mapping):
        return _from_arrays("arrays", {str(k): np.asarray(v) for k, v in source.items()})
    if str(source) == "digits":
        return _digits()
    path = Path(source)
    if not path.exists():
        raise DataError(f"there is no data file {path}", "give an .npz file, or 'digits'")
    arrays = read_npz(path, NAMES)
    if not {"x_train", "x_test"} & set(arrays):
        raise DataError(
            f"{path} has neither 'x_train' nor 'x_test'", f"name its arrays {', '.join(NAMES[:4])}"
        )
    return _from_arrays(path.name, arrays)


def _from_arrays(name: str, arrays: dict[str, Array]) -> Dataset:
    numbers = {"scale": 1.0, "zero_point": 0.0}
    for key in numbers:
        if key in arrays:
            value = arrays[key]
            if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
                raise DataError(f"{name}: '{key}' is not one finite number", "one scale serves all samples")
            numbers[key] = float(value.reshape(()))
    return Dataset(name, {k: v for k, v in arrays.items() if k not in numbers}, **numbers)


def _digits() -> Dataset:
    """scikit-learn's 1797 8×8 digits, values 0 to 1; every fifth sample is in the test part."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("the data set 'digits' needs scikit-learn", "pip install 'mcutrain[data]'") from None
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    test = np.arange(len(images)) % 5 == 4
    return Dataset(
        "digits",
        {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]},
    )


def check_samples(
    stored: npt.ArrayLike | Samples,
    sample_shape: tuple[int, ...],
    name: str = "x",
    *,
    scale: float = 1.0,
    zero_point: float = 0.0,
) -> Samples:
    """``stored`` (n, …) as samples of ``sample_shape``.

    Axes of length one may be missing or extra, a flat sample is folded, and channels
    move from last to first or back; any other shape is refused, even one of the same size.

    Raises:
        DataError: not an array of numbers, no samples, a shape that does not fit, NaN or infinity.
    """
    if isinstance(stored, Samples):
        if stored.shape[1:] == sample_shape:
            return stored
        stored = np.asarray(stored)
    array = _numbers(stored, name)
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"{name} holds no samples", "give at least one")
    samples = Samples(
        array,
        sample_shape,
        axes=_fit(array.shape[1:], sample_shape, name),
        scale=scale,
        zero_point=zero_point,
    )
    for start, chunk in samples.chunks():
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            index = start + int(np.argmin(finite))
            raise DataError(f"{name}: sample {index} holds NaN or infinity", "remove or repair it")
    return samples


def check_labels(
    labels: npt.ArrayLike | Samples, count: int, classes: int, name: str = "y"
) -> npt.NDArray[np.int32]:
    """Labels (count,) or (count, 1) as int32, each in 0 … classes − 1; raises DataError."""
    array = _numbers(labels, name)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {array.dtype}; cross-entropy takes integer labels", "use .astype('int32')"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.shape[1] == classes:
        raise DataError(f"{name} has shape {array.shape}: one-hot rows", "give labels: y.argmax(axis=1)")
    if array.shape != (count,):
        raise DataError(f"{name} has shape {array.shape}, not ({count},)", "give one label a sample")
    wrong = (array < 0) | (array >= classes)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise DataError(
            f"{name}: label {array[index]} of sample {index} is out of range",
            f"the model has {classes} outputs, labels are 0 to {classes - 1}",
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def check_targets(
    targets: npt.ArrayLike | Samples, count: int, shape: tuple[int, ...], name: str = "y"
) -> Samples:
    """Targets of mean squared error: ``count`` arrays of ``shape``; raises DataError."""
    checked = check_samples(targets, shape, name)
    if len(checked) != count:
        raise DataError(
            f"{name} has {counted(len(checked), 'target')} for {counted(count, 'sample')}", "give one each"
        )
    return checked


def _numbers(values: npt.ArrayLike, name: str) -> Array:
    """``values`` as an array of integers or floats, without copying one that is."""
    try:
        array = np.asanyarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name} is not an array: {error}", "give rows of equal shape") from None
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} is an array of {array.dtype}", "give integers or floats")
    return array


def _fit(stored: tuple[int, ...], wanted: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The permutation that makes a stored sample fit by reshaping; empty when none is needed."""
    tight_stored = tuple(n for n in stored if n != 1)
    tight_wanted = tuple(n for n in wanted if n != 1)
    if tight_stored == tight_wanted:
        return ()
    flat = len(tight_stored) <= 1 or len(tight_wanted) <= 1
    if flat and math.prod(stored) == math.prod(wanted):
        return ()
    if len(stored) == len(wanted) >= 2:
        last = len(stored) - 1
        for axes in ((last, *range(last)), (*range(1, last + 1), 0)):
            if tuple(stored[axis] for axis in axes) == wanted:
                return axes
    raise DataError(
        f"{name}: a sample has shape {stored}, the model takes {wanted}",
        "reshape or transpose the samples (they differ in more than axes of length one)",
    )
