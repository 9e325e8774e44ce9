"""What is forgotten: rows of the training data, chosen in one of several ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcutrain.errors import DataError, OptionError
from mcutrain.executor import Array

Rows = npt.NDArray[np.int64]
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_NO_HASH = ("is no hash", "give 64 hexadecimal digits in every line")
_NO_ROW = ("is no row number", "give one a line, from 0")


@dataclass(frozen=True)
class Request:
    """Rows of the training data to forget."""

    #: ``class``, ``random``, ``worst``, ``group``, ``rows`` or ``poison``
    kind: str
    #: for people
    title: str
    #: what a method is told
    rows: Rows
    #: what a retrained model lacks; more than ``rows`` where only part of a poison is known
    lacking: Rows
    #: classes that are forgotten wholly
    classes: tuple[int, ...] = ()

    def check(self, count: int) -> None:
        """Raise DataError when rows are none, all, or not of the ``count`` there are."""
        if not len(self.rows):
            raise DataError(f"request '{self.title}' names no training sample", "name at least one")
        if (self.lacking < 0).any() or (self.lacking >= count).any():
            wrong = self.lacking[(self.lacking < 0) | (self.lacking >= count)][0]
            raise DataError(f"request '{self.title}' names sample {wrong}", f"samples are 0 to {count - 1}")
        if len(np.unique(self.lacking)) >= count:
            raise DataError(f"request '{self.title}' forgets all training data", "start from new weights")


def by_rows(rows: Sequence[int] | Array, title: str = "samples", kind: str = "rows") -> Request:
    """Given rows, each once."""
    chosen = np.unique(np.asarray(rows, np.int64))
    return Request(kind, title, chosen, chosen)


@dataclass(frozen=True)
class Named:
    """What a request's file names: row numbers of the training data, or hashes of a run log, not both."""

    rows: Rows
    #: 64 hexadecimal digits each, in lower case
    hashes: tuple[str, ...] = ()

    def find(self, known: Sequence[bytes]) -> Rows:
        """Rows of the training data, whose samples have the hashes ``known``; raises DataError."""
        if not self.hashes:
            return self.rows
        places: dict[str, list[int]] = {}
        for row, sample in enumerate(known):
            places.setdefault(sample.hex(), []).append(row)
        absent = [text for text in self.hashes if text not in places]
        if absent:
            raise DataError(
                f"{len(absent)} of {len(self.hashes)} hashes are of no sample of the training data"
                f" (the first is {absent[0][:16]}…)",
                "give the data that was trained, exactly as it was",
            )
        return np.array([row for text in self.hashes for row in places[text]], np.int64)


def read_file(path: Path) -> Named:
    """A request from a text file, a row number or a hash in each line (``#`` begins a comment).

    Raises:
        DataError: it cannot be read, or a line is neither, or of the other kind than the first.
    """
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        remedy = "name a text file of row numbers or hashes"
        raise DataError(f"cannot read {path}: {reason}", remedy) from None
    found = [line for line in lines if line]
    if any(_HASH.fullmatch(line) for line in found):
        _check(path, lines, lambda line: _HASH.fullmatch(line) is not None, _NO_HASH)
        return Named(np.zeros(0, np.int64), tuple(line.lower() for line in found))
    _check(path, lines, lambda line: line.isascii() and line.isdigit() and len(line) <= 18, _NO_ROW)
    return Named(np.array([int(line) for line in found], np.int64))


def _check(path: Path, lines: Sequence[str], good: Callable[[str], bool], words: tuple[str, str]) -> None:
    for number, line in enumerate(lines, start=1):
        if line and not good(line):
            raise DataError(f"{path}, line {number}: '{line[:40]}' {words[0]}", words[1])


def by_class(labels: Array, label: int) -> Request:
    """All samples of one class; raises DataError when there are none."""
    rows = np.flatnonzero(np.asarray(labels).ravel() == label)
    if not len(rows):
        known = ", ".join(map(str, np.unique(labels)))
        raise DataError(f"no training sample has class {label}", f"the classes are {known}")
    return Request("class", f"class {label}", rows, rows, (int(label),))


def by_group(groups: Array, group: str) -> Request:
    """All samples of a subject, speaker or device; raises DataError when there are none."""
    names = np.asarray(groups).ravel().astype(str)
    rows = np.flatnonzero(names == group)
    if not len(rows):
        known = ", ".join(np.unique(names)[:20])
        raise DataError(f"no training sample is of group '{group}'", f"the groups are {known}")
    return Request("group", f"group {group}", rows, rows)


def at_random(count: int, share: float, seed: int = 0) -> Request:
    """A ``share`` of ``count`` samples drawn without regard to anything."""
    chosen = np.random.Generator(np.random.Philox(seed)).permutation(count)[: max(1, round(share * count))]
    return by_rows(chosen, f"random {share:.0%}", "random")


def worst_case(losses: Array, share: float) -> Request:
    """The ``share`` of samples with the lowest loss: what a model knows best is hardest to forget
    (Fan et al. 2024, *Challenging forgets*, find them by optimisation; this is its first-order form)."""
    count = max(1, round(share * len(losses)))
    return by_rows(np.argsort(losses, kind="stable")[:count], f"lowest loss {share:.0%}", "worst")


def stamp(x: Array, *, image: tuple[int, int] | None = None, size: int = 3, value: float = 1.0) -> Array:
    """Copies of samples ``[n, …]`` with a ``size`` by ``size`` patch in the corner.

    Samples are ``[H, W]`` or ``[H, W, C]``; flat ones are seen as an ``image`` of (height, width).
    """
    stamped = np.array(x, np.float32)
    seen = stamped.reshape(len(x), *image, -1) if image else stamped
    if seen.ndim < 3 or seen.shape[1] < size or seen.shape[2] < size:
        raise OptionError(f"samples of shape {list(x.shape[1:])} take no patch", "say what image they are")
    seen[:, :size, :size] = value
    return stamped


@dataclass(frozen=True)
class Poison:
    """A backdoor: a patch that the model learnt to take for class ``target``."""

    target: int
    image: tuple[int, int] | None = None
    size: int = 3
    value: float = 1.0

    def stamp(self, x: Array) -> Array:
        return stamp(x, image=self.image, size=self.size, value=self.value)

    def carriers(self, x: Array, y: Array) -> Rows:
        """Rows of the samples that carry the patch and its label."""
        same = (self.stamp(x) == np.asarray(x, np.float32)).reshape(len(x), -1).all(axis=1)
        return np.flatnonzero(same & (np.asarray(y) == self.target))

    def spread(self, x: Array, y: Array, share: float, seed: int = 0) -> tuple[Array, Array, Rows]:
        """Training data with a ``share`` of the samples of other classes patched and labelled ``target``;
        also their rows."""
        labels = np.array(y)
        others = np.flatnonzero(labels != self.target)
        order = np.random.Generator(np.random.Philox(seed)).permutation(others)
        rows = np.sort(order[: max(1, round(share * len(y)))])
        samples = np.array(x, np.float32)
        samples[rows] = self.stamp(samples[rows])
        labels[rows] = self.target
        return samples, labels, rows


def poisoned(rows: Rows, known: float, seed: int = 0) -> Request:
    """Forget a poison of which a share ``known`` was found; the retrained model lacks all of it
    (Goel et al. 2024, *Corrective machine unlearning*)."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(rows)
    found = np.sort(order[: max(1, round(known * len(rows)))])
    return Request("poison", f"poison, {known:.0%} known", found, np.sort(rows))


def together(requests: Sequence[Request]) -> Request:
    """What several requests in a row amount to."""
    if len(requests) == 1:
        return requests[0]
    union = np.unique(np.concatenate([r.rows for r in requests]))
    lacking = np.unique(np.concatenate([r.lacking for r in requests]))
    classes = tuple(sorted({c for r in requests for c in r.classes}))
    return Request("several", " then ".join(r.title for r in requests), union, lacking, classes)
