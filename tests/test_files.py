"""Files are written whole or not at all, and no JSON ends a program."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mcutrain.files import parse_json, whole_file, write_whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_ends_early_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def half() -> None:
        with whole_file(path) as file:
            file.write(b"half of ")
            file.flush()
            assert path.read_text() == "before"
            raise error

    with pytest.raises(error):
        half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("private", "mask", "rights"), [(False, 0o022, 0o644), (False, 0o077, 0o600), (True, 0o022, 0o600)]
)
def test_a_file_takes_the_place_of_another(tmp_path: Path, private: bool, mask: int, rights: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    mine = os.umask(mask)
    try:
        write_whole(path, "nachher: ä", private=private)
        assert os.umask(mask) == mask
    finally:
        os.umask(mine)
    assert path.read_text("utf-8") == "nachher: ä"
    assert stat.S_IMODE(path.stat().st_mode) == rights
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "none" / "a.txt", b"")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", "[" * 100_000, b'{"a":' * 50_000, "1" * 5000])
def test_what_is_no_json_is_a_value_error(text: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
