"""Quarter octaves: codes go up with the number, and never decode to less than was encoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.numerics.octaves import decode, encode

CODES = np.arange(256).astype(np.uint8)


def test_codes_are_quarter_octaves() -> None:
    values = decode(CODES)
    assert values[0] == 0
    exponents = (CODES[1:].astype(np.float64) - 161) / 4
    np.testing.assert_allclose(values[1:], 2.0**exponents, rtol=1e-7)
    assert (values[1], values[161]) == (np.float32(2.0**-40), 1)


def test_a_code_survives_the_round_trip() -> None:
    assert np.array_equal(encode(decode(CODES)), CODES)


def test_the_next_number_up_has_the_next_code() -> None:
    values = decode(CODES[1:-1])
    above = np.nextafter(values, np.float32(np.inf))
    assert np.array_equal(encode(above), CODES[2:])
    below = np.nextafter(values[1:], np.float32(0))
    assert np.array_equal(encode(below), CODES[2:-1])


@given(st.floats(float(decode(CODES)[1]), float(decode(CODES)[255]), width=32))
def test_decoding_never_gives_less_and_at_most_a_quarter_octave_more(value: float) -> None:
    x = np.float32([value])
    ratio = float(decode(encode(x))[0]) / float(x[0])
    assert 1 <= ratio < 2**0.25 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.0, 0),
        (-0.0, 0),
        (-1.0, 0),
        (-np.inf, 0),
        (1e-45, 1),
        (1e-20, 1),
        (2.0**-40, 1),
        (2.0**23.5, 255),
        (1e30, 255),
        (np.inf, 255),
        (np.nan, 255),
        (-np.nan, 255),
    ],
)
def test_ends(value: float, code: int) -> None:
    assert encode(np.float32([value]))[0] == code
