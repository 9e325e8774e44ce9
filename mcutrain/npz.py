"""Arrays of an ``.npz`` file, however large, and never unpickled.

A small array is read into memory.  A large one is mapped: a stored member
where it lies in the file, a deflated one from an unnamed temporary file that
it is inflated into piece by piece.  Every byte passes the archive's checksum.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from mcutrain.errors import DataError

Array = npt.NDArray[Any]

#: Arrays above this many bytes are mapped instead of read.
IN_MEMORY = 64 << 20
_PIECE = 1 << 20
#: NumPy's reader of headers, which not every version has types for.
_FORMAT: Any = np.lib.format
#: What Python's own readers raise for a file that is damaged, encrypted or of an unknown kind.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
)
_RESAVE = "save the arrays again with numpy.savez"


def read_npz(path: Path, names: Iterable[str], in_memory: int = IN_MEMORY) -> dict[str, Array]:
    """The arrays called ``names`` that the file holds; absent ones are left out.

    ``in_memory`` is the size in bytes up to which an array is read instead of mapped.

    Raises:
        DataError: the file cannot be read, is damaged, or an array would need unpickling.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            return {
                name: _read_member(path, archive, members[f"{name}.npy"], in_memory)
                for name in names
                if f"{name}.npy" in members
            }
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", "check the path") from None
    except _DAMAGE as error:
        raise DataError(f"{path} is not a readable .npz file: {error}", _RESAVE) from None


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, in_memory: int) -> Array:
    """One array of the archive; other errors than DataError are the archive's."""
    with archive.open(info) as stream:
        shape, fortran, dtype = _read_header(stream)
        header = stream.tell()
        if dtype.hasobject:
            raise DataError(
                f"{path}: '{info.filename}' holds pickled objects", "save it as an array of numbers"
            )
        nbytes = math.prod(shape) * dtype.itemsize
        if any(n < 0 for n in shape) or nbytes != info.file_size - header:
            raise DataError(
                f"{path}: '{info.filename}' promises {shape} of {dtype}"
                f" but holds {info.file_size - header} bytes",
                _RESAVE,
            )
        order: Literal["F", "C"] = "F" if fortran else "C"
        if nbytes <= in_memory:
            return np.frombuffer(bytearray(stream.read()), dtype).reshape(shape, order=order)
        if info.compress_type == zipfile.ZIP_STORED:
            for _ in iter(lambda: stream.read(_PIECE), b""):
                pass  # reading to the end compares the checksum
            offset = _payload_offset(path, info) + header
            return np.memmap(path, dtype, "r", offset, shape, order)
        with tempfile.TemporaryFile(dir=_spill_directory()) as spill:
            for piece in iter(lambda: stream.read(_PIECE), b""):
                spill.write(piece)
            spill.flush()
            # The mapping outlives the file, which has no name to be left behind.
            return np.memmap(spill, dtype, "r", 0, shape, order)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and element type; raises ValueError."""
    version = _FORMAT.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = _FORMAT.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = _FORMAT.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format")
    return tuple(shape), bool(fortran), dtype


def _payload_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes start: its local header has lengths of its own."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
    return (
        info.header_offset
        + 30
        + int.from_bytes(local[26:28], "little")
        + int.from_bytes(local[28:30], "little")
    )


def _spill_directory() -> str | None:
    """A folder on disk: the usual temporary folder is often in memory."""
    for folder in filter(None, (os.environ.get("TMPDIR"), "/var/tmp")):
        with contextlib.suppress(OSError):
            if os.access(folder, os.W_OK) and Path(folder).is_dir():
                return folder
    return None
