"""Files of tiles: read, written, and refused with what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.errors import OptionError
from mcutrain.manifest import TileChoice
from mcutrain.tile_file import TileFile, read_tiles, write_tiles


def test_toml_and_json(tmp_path: Path) -> None:
    toml, json = tmp_path / "tiles.toml", tmp_path / "tiles.json"
    toml.write_text('[tiles]\nconv1 = { rows = 4, columns = 16 }\n"conv1.weight_gradient" = { rows = 8 }\n')
    json.write_text('{"tiles": {"conv1": {"rows": 4, "columns": 16}, "conv1.weight_gradient": {"rows": 8}}}')
    expected = (TileChoice("conv1", 4, 16), TileChoice("conv1.weight_gradient", 8, 0))
    assert read_tiles(toml).choices() == read_tiles(json).choices() == expected


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TILES = st.tuples(st.integers(0, 1 << 20), st.integers(1, 1 << 20))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, TILES), st.dictionaries(NAMES, st.dictionaries(TILES, st.integers(0, 1 << 30))))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, tiles: dict, measured: dict
) -> None:
    path = tmp_path_factory.mktemp("tiles") / "tiles.toml"
    file = TileFile(tiles, measured, 'a "build"\n')
    write_tiles(path, file)
    assert read_tiles(path) == file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tiles", "is not TOML"),
        ("tiles = 3", "no table 'tiles'"),
        ("[tile]\nconv1 = { rows = 1 }", "no table 'tiles'"),
        ("[tiles]\nconv1 = 4", "the tile of 'conv1' is 4"),
        ("[tiles]\nconv1 = { row = 4 }", "the tile of 'conv1'"),
        ("[tiles]\nconv1 = { rows = 0 }", "the tile of 'conv1'"),
        ("[tiles]\nconv1 = { rows = -1, columns = 4 }", "the tile of 'conv1'"),
        ("[tiles]\nconv1 = { rows = true }", "the tile of 'conv1'"),
        ("[tiles]\nconv1 = { rows = 1.5 }", "the tile of 'conv1'"),
        ("[tiles]\nconv1 = { rows = 1979-05-27 }", "the tile of 'conv1'"),
        ("[tiles]\n[extra]\n", "unknown key 'extra'"),
        ("subject = 3\n[tiles]\n", "'subject' is not a text"),
        ('[tiles]\n[measured.conv1]\n"4by4" = 100', "what was measured of 'conv1'"),
        ("measured = 3\n[tiles]\n", "what was measured of 'measured'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tiles.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_tiles(path)
    assert str(path) in caught.value.reason


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("any.toml", "any.json"):
        (folder / name).write_bytes(content)
        with pytest.raises(OptionError):
            read_tiles(folder / name)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot read"):
        read_tiles(tmp_path / "none.toml")
    with pytest.raises(OptionError, match="cannot write"):
        write_tiles(tmp_path / "none" / "tiles.toml", TileFile())
