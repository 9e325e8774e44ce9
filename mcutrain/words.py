"""Words for people: counts with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 sample``, ``2 samples``, ``12 345 samples``; ``plural`` where it isn't the noun with an s."""
    return f"{number:,}".replace(",", " ") + " " + (noun if number == 1 else plural or noun + "s")
