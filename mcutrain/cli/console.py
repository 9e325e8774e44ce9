"""How commands speak: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_PIPE_WIDTH = 200
#: Values above these print as the next unit.
_UNITS = ((1 << 20, "MiB"), (1 << 10, "KiB"))


def output() -> Console:
    """Standard output; a pipe or file gets wide lines, so that tables stay whole."""
    return _console(stderr=False)


def errors() -> Console:
    """Standard error."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


def table(*columns: str, title: str | None = None) -> Table:
    """A plain table; a column whose name ends in ``>`` is right-aligned."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        name = column.rstrip(">")
        made.add_column(name, justify="right" if name != column else "left", header_style="dim")
    return made


@contextmanager
def progress(*fields: str) -> Iterator[Progress]:
    """A progress bar on standard error; nothing when that is not a terminal."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in fields),
        TimeRemainingColumn(),
    ]
    console = errors()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def number(value: int) -> str:
    """1234567 → ``1 234 567``."""
    return f"{value:,}".replace(",", " ")


def size(nbytes: int) -> str:
    """Bytes for people: ``307.5 KiB``."""
    for unit, name in _UNITS:
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {name}"
    return f"{nbytes} B"


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def version() -> str:
    """The installed version, or that this is a bare checkout."""
    try:
        return metadata.version("mcutrain")
    except metadata.PackageNotFoundError:
        return "(checkout, not installed)"
