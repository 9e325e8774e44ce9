"""Files that are there whole or as they were, and JSON that anybody may have written."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of ``path`` at the end.

    Whatever ends the block early (a full disk, Ctrl-C) leaves ``path`` as it was and
    nothing beside it.  ``private`` files are for their owner alone.  Raises OSError.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as half:
        try:
            yield half
            half.flush()
            os.fsync(half.fileno())
            if not private:
                os.chmod(half.name, 0o666 & ~_umask())
            os.replace(half.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(half.name)
            raise


def _umask() -> int:
    """The permissions that this process takes from its new files; it cannot be read without being set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_whole(path: Path, data: bytes | str, *, private: bool = False) -> None:
    """Write a file as :func:`whole_file` does, text as UTF-8; raises OSError."""
    with whole_file(path, private=private) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


def parse_json(data: bytes | str) -> Any:
    """A JSON value; raises ValueError for whatever is none, also for what is nested beyond all sense."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
