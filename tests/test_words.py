"""Counts with their nouns."""

from __future__ import annotations

import pytest

from mcutrain.words import counted


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 samples"),
        (1, "1 sample"),
        (2, "2 samples"),
        (1234, "1 234 samples"),
        (1_000_001, "1 000 001 samples"),
    ],
)
def test_a_noun_follows_its_number(number: int, words: str) -> None:
    assert counted(number, "sample") == words


def test_a_plural_of_its_own() -> None:
    assert [counted(n, "pass", "passes") for n in (1, 3)] == ["1 pass", "3 passes"]
