"""Data: every file and array is checked before a device is touched."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcutrain.data import (
    ModelShape,
    Samples,
    check_labels,
    check_samples,
    check_targets,
    load,
)
from mcutrain.errors import DataError
from mcutrain.npz import read_npz

DIGITS_CNN = ModelShape(sample=(1, 8, 8), output=(10,), loss="cross-entropy")


def small_arrays() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(-128, 128, (6, 4, 4, 1)).astype(np.int8),
        "y_train": np.arange(6, dtype=np.uint8),
        "scale": np.float32(0.5),
        "zero_point": np.int32(83),
    }


def test_digits_by_name_fit_a_channel_first_model() -> None:
    x, y = load("digits").part("train", DIGITS_CNN)
    assert x.shape == (1438, 1, 8, 8)
    assert len(load("digits").part("test", DIGITS_CNN)[0]) == 359
    assert x[:].min() == 0
    assert x[:].max() == 1
    assert isinstance(y, np.ndarray)
    assert y.dtype == np.int32


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("in_memory", [1 << 20, 0])
def test_quantised_samples_become_values(tmp_path: Path, save: Any, in_memory: int) -> None:
    arrays = small_arrays()
    save(tmp_path / "d.npz", **arrays)
    read = read_npz(tmp_path / "d.npz", arrays, in_memory)
    for name, array in arrays.items():
        assert np.array_equal(read[name], array)
        assert read[name].dtype == array.dtype
        assert isinstance(read[name], np.memmap) == (in_memory == 0)
    x, _ = load(read).part("train", ModelShape((4, 4, 1), (6,), "cross-entropy"))
    expected = (arrays["x_train"].astype(np.float32) - 83) * np.float32(0.5)
    assert np.array_equal(np.asarray(x), expected)
    assert np.array_equal(x[2], expected[2])
    assert np.array_equal(x[np.array([5, 1])], expected[[5, 1]])


def test_fortran_order_survives_mapping(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    np.savez(tmp_path / "d.npz", x_train=array)
    assert np.array_equal(read_npz(tmp_path / "d.npz", ["x_train"], 0)["x_train"], array)


def test_a_file_larger_than_memory_is_streamed(tmp_path: Path) -> None:
    """48 MB stored and deflated, in a process that may allocate less than that on its heap."""
    import tracemalloc

    array = np.zeros((12, 1 << 20), np.float32)
    array[:, 7] = np.arange(12)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "big.npz", x_train=array)
        tracemalloc.start()
        read = read_npz(tmp_path / "big.npz", ["x_train"], in_memory=1 << 20)
        samples = check_samples(read["x_train"], (1 << 20,))
        assert [float(samples[i][7]) for i in (0, 11, 5)] == [0, 11, 5]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < array.nbytes / 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.npz"]


@pytest.mark.parametrize(
    ("stored", "wanted", "axes"),
    [
        ((8, 8), (1, 8, 8), None),
        ((8, 8), (8, 8, 1), None),
        ((64,), (1, 8, 8), None),
        ((49, 10, 1), (490,), None),
        ((5, 6, 3), (3, 5, 6), (2, 0, 1)),
        ((3, 5, 6), (5, 6, 3), (1, 2, 0)),
    ],
)
def test_shapes_that_fit(
    stored: tuple[int, ...], wanted: tuple[int, ...], axes: tuple[int, ...] | None
) -> None:
    array = np.arange(2 * np.prod(stored), dtype=np.float32).reshape(2, *stored)
    moved = array if axes is None else array.transpose(0, *(a + 1 for a in axes))
    assert np.array_equal(check_samples(array, wanted)[:], moved.reshape(2, *wanted))


@pytest.mark.parametrize("stored", [(4, 16), (8, 8, 2), (), (63,), (2, 4, 8)])
def test_shapes_that_do_not_fit_are_refused_even_at_equal_size(stored: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"a sample has shape .* the model takes \(8, 8, 1\)"):
        check_samples(np.zeros((2, *stored), np.float32), (8, 8, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_nan_infinity_and_overflow_are_named(bad: float) -> None:
    x = np.zeros((5, 3))
    x[3, 1] = bad
    with pytest.raises(DataError, match="sample 3 holds NaN or infinity"):
        check_samples(x, (3,))


@pytest.mark.parametrize(
    "x", [[["a"]], [[None]], [[1j]], [[1, 2], [3]], np.zeros((0, 3)), np.float32(1), np.zeros((1, 3), bool)]
)
def test_what_is_not_an_array_of_samples_is_refused(x: Any) -> None:
    with pytest.raises(DataError):
        check_samples(x, (3,))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 10, 1], r"label 10 of sample 1 is out of range.*0 to 9"),
        ([0, 1, -1], r"label -1 of sample 2 is out of range"),
        ([0, 1], r"not \(3,\)"),
        ([0.0, 1.0, 2.0], "takes integer labels"),
        (np.eye(10, dtype=int)[:3], "one-hot"),
        (["a", "b", "c"], "give integers"),
        (np.array([2**63, 0, 0], np.uint64), "out of range"),
    ],
)
def test_wrong_labels_are_named(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(labels, 3, 10)


def test_labels_in_a_column_are_labels() -> None:
    assert check_labels(np.array([[1], [2]], np.uint8), 2, 3).tolist() == [1, 2]


def test_an_autoencoder_without_targets_learns_its_input() -> None:
    shape = ModelShape((4,), (4,), "mse")
    x, y = load({"x_train": np.ones((3, 2, 2), np.float32)[:, 0].repeat(2, axis=1)}).part("train", shape)
    assert isinstance(y, Samples)
    assert np.array_equal(np.asarray(x), np.asarray(y))
    with pytest.raises(DataError, match="2 targets for 3 samples"):
        check_targets(np.zeros((2, 4)), 3, (4,))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_test": np.zeros((1, 1))}, "no 'x_train'"),
        ({"x_train": np.zeros((1, 1))}, "no 'y_train'"),
        ({"x_train": np.zeros((1, 1)), "scale": np.array([1.0, 2.0])}, "'scale' is not one finite number"),
        ({"x_train": np.zeros((1, 1)), "zero_point": np.nan}, "'zero_point' is not one finite number"),
    ],
)
def test_incomplete_data_names_what_is_missing(arrays: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(arrays).part("train", ModelShape((1,), (2,), "cross-entropy"))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no data file"):
        load(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(DataError, match="neither 'x_train' nor 'x_test'"):
        load(tmp_path / "other.npz")


class _Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    np.savez(tmp_path / "objects.npz", x_train=np.array([_Trap(trap)], dtype=object))
    with pytest.raises(DataError, match="pickled objects"):
        load(tmp_path / "objects.npz")
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("x_train.npy", pickle.dumps(_Trap(trap)))
    with pytest.raises(DataError):
        load(tmp_path / "raw.npz")
    assert not trap.exists()


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + bytes(16))
    with pytest.raises(DataError, match="but holds 16 bytes"):
        load(tmp_path / "d.npz")


def _archive(compressed: bool) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **small_arrays())
    return file.getvalue()


@pytest.mark.parametrize("in_memory", [1 << 20, 0])
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), compressed=st.booleans())
def test_damage_is_a_data_error_or_the_same_arrays(
    tmp_path: Path, in_memory: int, data: st.DataObject, compressed: bool
) -> None:
    """Flip bytes or truncate: never another exception, and never other samples."""
    original = _archive(compressed)
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged
    path = tmp_path / "fuzz.npz"
    path.write_bytes(bytes(damaged))
    try:
        read = read_npz(path, ["x_train", "y_train"], in_memory)
    except DataError:
        return
    for name, array in read.items():
        assert np.array_equal(array, small_arrays()[name])
