"""Frames: round trips, damage, and any bytes at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcutrain.device.framing import Command, Decoder, Frame, encode

frames = st.builds(
    Frame,
    command=st.integers(0, 255),
    sequence=st.integers(0, 2**32 - 1),
    body=st.one_of(st.binary(max_size=600), st.integers(0, 1200).map(bytes)),
    status=st.integers(0, 255),
    version=st.integers(0, 255),
)


@given(st.lists(frames, max_size=4), st.integers(1, 50))
def test_frames_arrive_however_the_stream_is_cut(sent: list[Frame], step: int) -> None:
    wire = b"".join(map(encode, sent))
    decoder = Decoder()
    received = [frame for i in range(0, len(wire), step) for frame in decoder.feed(wire[i : i + step])]
    assert received == sent
    assert decoder.damaged == 0


@given(st.binary(max_size=400), frames)
def test_garbage_before_a_frame_does_not_hide_it(garbage: bytes, frame: Frame) -> None:
    assert frame in Decoder().feed(garbage + encode(frame))


@given(frames, frames, st.data())
def test_a_damaged_frame_is_never_taken_for_another(first: Frame, second: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(first))
    at = data.draw(st.integers(0, len(wire) - 1))
    kind = data.draw(st.sampled_from(["flip", "lose", "repeat", "insert"]))
    if kind == "flip":
        wire[at] ^= data.draw(st.integers(1, 255))
    elif kind == "lose":
        del wire[at]
    elif kind == "repeat":
        wire.insert(at, wire[at])
    else:
        wire.insert(at, data.draw(st.integers(0, 255)))
    received = Decoder().feed(bytes(wire) + encode(second))
    # Losing or adding a delimiter may leave the first frame whole; it is never changed.
    assert received in ([second], [first, second])


@given(st.binary(max_size=2000))
def test_any_bytes_are_survived(data: bytes) -> None:
    decoder = Decoder()
    decoder.feed(data)
    frame = Frame(Command.HELLO, 1)
    assert decoder.feed(encode(frame))[-1:] == [frame]


def test_endless_bytes_without_delimiter_take_bounded_memory() -> None:
    decoder = Decoder()
    for _ in range(40):
        decoder.feed(b"\x01" * 100_000)
    assert len(decoder._buffer) < 3 << 20
    frame = Frame(Command.HELLO, 1)
    assert decoder.feed(encode(frame)) == [frame]


def test_layout_on_the_wire() -> None:
    """The header is 21 encoded bytes between zeros, whatever is in it."""
    for sequence in (0, 0x01010101, 0xFFFFFFFF):
        wire = encode(Frame(Command.RUN, sequence, b"\0\1\2"))
        assert wire[0] == 0
        assert wire[22] == 0
        assert 0 not in wire[1:22]
        assert wire[-1] == 0
        assert 0 not in wire[23:-1]
