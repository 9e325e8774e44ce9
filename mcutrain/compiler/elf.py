"""The part of the ELF format needed to check a link: sections, and symbols with sizes.

Layout after the System V ABI, gabi 4.1, chapters 4 (sections, symbol table).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from mcutrain.errors import ToolchainError

_SYMTAB, _NOBITS = 2, 8
_ALLOC, _WRITE = 2, 1
_SECTION_INDEX_LIMIT = 0xFF00


@dataclass(frozen=True)
class Section:
    """A section that occupies memory when the firmware runs."""

    name: str
    address: int
    size: int
    writable: bool
    #: whether its bytes are in the file (not zero-initialised)
    stored: bool


@dataclass(frozen=True)
class Symbol:
    """A defined symbol."""

    name: str
    address: int
    size: int
    section: str


@dataclass(frozen=True)
class Elf:
    """Allocated sections and defined symbols of a linked file, by address."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def symbol(self, name: str) -> Symbol | None:
        return next((s for s in self.symbols if s.name == name), None)

    def totals(self) -> dict[str, int]:
        """Bytes of code and constants (``text``), initialised (``data``) and zeroed memory (``bss``)."""
        totals = {"text": 0, "data": 0, "bss": 0}
        for section in self.sections:
            kind = "bss" if not section.stored else "data" if section.writable else "text"
            totals[kind] += section.size
        return totals

    def map(self) -> str:
        """The memory map as text: one line per section, its symbols below it."""
        lines = []
        for section in self.sections:
            lines.append(f"{section.address:#010x} {section.size:>9}  {section.name}")
            lines += [
                f"{s.address:#010x} {s.size:>9}    {s.name}"
                for s in self.symbols
                if s.section == section.name and s.size
            ]
        return "\n".join(lines) + "\n"


def read_elf(path: Path) -> Elf:
    """Parse a little-endian ELF file of 32 or 64 bits.

    Raises:
        ToolchainError: the file is none, or is damaged.
    """
    contents = path.read_bytes()
    if contents[:4] != b"\x7fELF" or contents[4:5] not in (b"\x01", b"\x02") or contents[5:6] != b"\x01":
        raise ToolchainError(
            f"{path.name} is not a little-endian ELF file", "use a compiler for an ELF target"
        )
    try:
        return _parse(contents, wide=contents[4] == 2)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ToolchainError(f"{path.name} is a damaged ELF file ({error})", "compile again") from None


def _parse(contents: bytes, wide: bool) -> Elf:
    if wide:
        (table,) = struct.unpack_from("<Q", contents, 0x28)
        entry_size, count, names_index = struct.unpack_from("<HHH", contents, 0x3A)
        header = struct.Struct("<IIQQQQIIQQ")
    else:
        (table,) = struct.unpack_from("<I", contents, 0x20)
        entry_size, count, names_index = struct.unpack_from("<HHH", contents, 0x2E)
        header = struct.Struct("<IIIIIIIIII")
    headers = [header.unpack_from(contents, table + i * entry_size) for i in range(count)]

    def text(section: int, offset: int) -> str:
        start = headers[section][4] + offset
        return contents[start : contents.index(b"\0", start)].decode(errors="replace")

    names = [text(names_index, h[0]) for h in headers]
    sections = [
        Section(names[i], h[3], h[5], bool(h[2] & _WRITE), h[1] != _NOBITS)
        for i, h in enumerate(headers)
        if h[2] & _ALLOC and h[5]
    ]
    symbols = []
    for h in headers:
        if h[1] != _SYMTAB:
            continue
        for offset in range(h[4], h[4] + h[5], h[9]):
            if wide:
                name, _, _, index, value, size = struct.unpack_from("<IBBHQQ", contents, offset)
            else:
                name, value, size, _, _, index = struct.unpack_from("<IIIBBH", contents, offset)
            if name and 0 < index < _SECTION_INDEX_LIMIT:
                symbols.append(Symbol(text(h[6], name), value, size, names[index]))
    sections.sort(key=lambda s: (s.address, s.name))
    symbols.sort(key=lambda s: (s.address, s.name))
    return Elf(tuple(sections), tuple(symbols))
