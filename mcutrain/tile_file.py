"""Files that say which tiles to use, by layer: written by hand or by ``mcutrain tune``.

TOML or JSON with a table ``tiles``::

    [tiles]
    conv1 = { rows = 4, columns = 16 }
    "conv1.weight_gradient" = { rows = 8 }

What is left out, or 0, the compiler chooses.  ``mcutrain tune`` keeps what it measured in a table
``measured`` beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcutrain.errors import OptionError
from mcutrain.files import parse_json, write_whole
from mcutrain.manifest import TileChoice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

#: Rows and columns of a tile.
Tile = tuple[int, int]


@dataclass
class TileFile:
    """The tiles of a file, and the cycles that were measured: ``measured[layer][rows, columns]``."""

    tiles: dict[str, Tile] = field(default_factory=dict)
    measured: dict[str, dict[Tile, int]] = field(default_factory=dict)
    #: which build the cycles belong to
    subject: str = ""

    def choices(self) -> tuple[TileChoice, ...]:
        """The tiles as the compiler's option."""
        return tuple(TileChoice(layer, *tile) for layer, tile in self.tiles.items())


def read_tiles(path: Path) -> TileFile:
    """Read a file; raises OptionError naming it, the layer and what is wrong."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror}", "name a file of tiles") from None
    except UnicodeDecodeError:
        raise OptionError(f"{path} is not text", "name a file of tiles, TOML or JSON") from None
    try:
        value = parse_json(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("tiles"), dict):
        raise OptionError(f"{path} has no table 'tiles'", "give a layer's tile as conv1 = { rows = 4 } in it")
    for key in value:
        if key not in ("tiles", "measured", "subject"):
            raise OptionError(f"{path}: unknown key '{key}'", "the tables are tiles and measured")
    subject = value.get("subject", "")
    if not isinstance(subject, str):
        raise OptionError(f"{path}: 'subject' is not a text", "correct it, or leave it out")
    tiles = {layer: _tile(path, layer, entry) for layer, entry in value["tiles"].items()}
    return TileFile(tiles, _measured(path, value.get("measured", {})), subject)


def write_tiles(path: Path, file: TileFile) -> None:
    """Write TOML, so that the file is there complete or as it was; raises OptionError."""
    lines = ["# Tiles of kernel calls, for mcutrain compile --tiles; cycles as mcutrain tune measured."]
    if file.subject:
        lines.append(f"subject = {_quoted(file.subject)}")
    lines += ["", "[tiles]"]
    lines += [f"{_quoted(n)} = {{ rows = {r}, columns = {c} }}" for n, (r, c) in sorted(file.tiles.items())]
    for layer, cycles in sorted(file.measured.items()):
        lines += ["", f"[measured.{_quoted(layer)}]"]
        lines += [f'"{rows}x{columns}" = {count}' for (rows, columns), count in cycles.items()]
    try:
        write_whole(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror}", "choose another -o") from None


def _tile(path: Path, layer: str, entry: Any) -> Tile:
    numbers = entry if isinstance(entry, dict) else {}
    good = bool(numbers) and set(numbers) <= {"rows", "columns"}
    if not good or not all(_is_count(number) for number in numbers.values()) or not any(numbers.values()):
        raise OptionError(
            f"{path}: the tile of '{layer}' is {json.dumps(entry, default=str)[:60]}",
            "give it as { rows = 4, columns = 16 }, in whole numbers; one of them may be left out",
        )
    return numbers.get("rows", 0), numbers.get("columns", 0)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _measured(path: Path, table: Any) -> dict[str, dict[Tile, int]]:
    found: dict[str, dict[Tile, int]] = {}
    for layer, entries in table.items() if isinstance(table, Mapping) else [("measured", table)]:
        found[layer] = {}
        for key, cycles in entries.items() if isinstance(entries, Mapping) else [("", 0)]:
            rows, cross, columns = key.partition("x")
            if not (cross and rows.isdecimal() and columns.isdecimal() and _is_count(cycles)):
                raise OptionError(
                    f"{path}: what was measured of '{layer}' is not cycles by tile",
                    "remove the table 'measured'; mcutrain tune measures anew",
                )
            found[layer][int(rows), int(columns)] = cycles
    return found


def _quoted(name: str) -> str:
    """A TOML string; JSON's escapes are TOML's, which wants one more."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
