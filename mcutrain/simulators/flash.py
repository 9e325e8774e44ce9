"""The file that is a simulator's flash: made blank, used by one simulator at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mcutrain.errors import SimulatorError
from mcutrain.files import whole_file

#: Bytes of a new file by simulator; QEMU's chip takes exactly this much.
SIZES = {"native": 16 << 20, "qemu": 32 << 20, "gvsoc": 2 << 20}
_PIECE = b"\xff" * (1 << 20)


def prepare(path: Path, simulator: str) -> int:
    """Make the file if it is not there, erased; returns a descriptor that locks it until it is closed.

    Raises:
        SimulatorError: another simulator uses it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.parent / f".{path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SimulatorError(f"cannot write {path}: {error.strerror}", "check the folder's rights") from None
    try:
        _lock(lock, path)
        if not path.exists():
            make_blank(path, simulator)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SimulatorError(
            f"another simulator uses {path}", "end it first: one device has one flash"
        ) from None


def make_blank(path: Path, simulator: str) -> None:
    """A file of ones, there wholly or not at all; nobody else may read it, as it will hold the key."""
    size = SIZES[simulator]
    with whole_file(path, private=True) as file:
        for start in range(0, size, len(_PIECE)):
            file.write(_PIECE[: size - start])
