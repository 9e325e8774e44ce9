"""Counting kernel calls over the link: the device's log, its limits, and devices that answer nonsense."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from mcutrain.device import profile
from mcutrain.device.framing import Command
from mcutrain.device.profile import run_counted
from mcutrain.device.session import DeviceFacts, Session
from mcutrain.errors import DeviceError, LinkError
from mcutrain.simulators import native as native_simulator
from mcutrain.targets import find_target

NUMBERS = np.arange(1024, dtype=np.float32).reshape(32, 32)


def test_a_run_is_counted(session: Session) -> None:
    session.write({"counts": np.zeros(8, np.int32)})
    counted = run_counted(session, "step", {"x": NUMBERS})
    assert counted.program == "step"
    assert not counted.clock.counts_cycles
    assert [call.call for call in counted.calls] == [0, 1]
    at = 0
    for call in counted.calls:
        assert at <= call.begin <= call.end
        at = call.end
        assert call.transfers is None
        assert len(call.workers) == 8
        for worker in call.workers:
            assert call.begin <= worker["begin"] <= worker["end"] <= call.end
    assert sum(call.end - call.begin for call in counted.calls) <= counted.duration
    got = session.read(["y", "counts"])
    np.testing.assert_array_equal(got["y"], NUMBERS * 2 + 1)
    np.testing.assert_array_equal(got["counts"], np.ones(8, np.int32))


def test_time_passes(session: Session) -> None:
    """Program `slow` waits a fiftieth of a second a hundred times, in its calls, not between them."""
    counted = run_counted(session, "slow")
    assert counted.duration >= 1.9 * counted.clock.rate
    assert sum(call.end - call.begin for call in counted.calls) >= 1.9 * counted.clock.rate


def test_messages_to_the_host_are_not_counted(native: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    native.progress = lambda what, done, total: heard.append(what)
    wholes: list[tuple[int, int]] = []
    read = profile._read_run

    def note(*arguments: Any) -> Any:
        wholes.append(read(*arguments)[:2])
        return read(*arguments)

    monkeypatch.setattr(profile, "_read_run", note)
    counted = run_counted(native, "slow")
    (whole, messages), *_ = wholes
    assert heard
    assert 0 < messages < whole
    assert counted.duration == whole - messages


def test_runs_alone_are_counted(native: Session) -> None:
    counted = run_counted(native, "step", {"x": NUMBERS}, each_call=False)
    assert counted.duration > 0
    assert counted.calls == ()


def test_counting_ends(native: Session) -> None:
    run_counted(native, "step", {"x": NUMBERS})
    native.run("step", {"x": NUMBERS})
    assert read_log(native) == (0, 0)


def test_a_new_session_does_not_count(native: Session) -> None:
    native.exchange(Command.PROFILE, number(1))
    native._requests.hello()
    native.run("step", {"x": NUMBERS})
    assert read_log(native) == (0, 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_fewer_workers(link: Any, workers: int) -> None:
    with Session(link("native"), handmade.manifest(), workers=workers) as session:
        counted = run_counted(session, "step", {"x": NUMBERS})
    assert [len(call.workers) for call in counted.calls] == [workers] * 2


@pytest.mark.parametrize("capacity", [2, 7, 101, 102, 103])
def test_a_long_program_runs_in_parts(
    native: Session, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    start = profile._start

    def small(session: Session, mode: profile.Mode) -> profile._Log:
        return dataclasses.replace(start(session, mode), capacity=capacity)

    monkeypatch.setattr(profile, "_start", small)
    native.write({"counts": np.zeros(8, np.int32)})
    counted = run_counted(native, "slow")
    assert [call.call for call in counted.calls] == list(range(101))
    times = [time for call in counted.calls for time in (call.begin, call.end)]
    assert times == sorted(times)
    assert counted.duration >= sum(call.end - call.begin for call in counted.calls)
    np.testing.assert_array_equal(native.read(["counts"])["counts"], np.ones(8, np.int32))


def test_what_does_not_fit_the_log_is_told(native: Session) -> None:
    native.exchange(Command.PROFILE, number(1))
    capacity = struct.unpack_from("<6I", native.exchange(Command.PROFILE, number(1)))[2]
    runs = capacity // 3 + 2
    for _ in range(runs):
        native.run("step")
    assert read_log(native) == (capacity, 3 * runs - capacity)


@pytest.mark.parametrize("body", [b"", b"\x03\0\0\0", b"\1\0\0\0\0"])
def test_a_mode_that_is_none(native: Session, body: bytes) -> None:
    with pytest.raises(DeviceError, match="PROFILE has no such mode"):
        native.exchange(Command.PROFILE, body)


@pytest.mark.parametrize(
    ("first", "count", "reason"),
    [
        (0, 4, "the log has no such records"),
        (4, 0, "the log has no such records"),
        (3, 1, "the log has no such records"),
        (1, 0xFFFFFFFF, "the log has no such records"),
    ],
)
def test_records_that_are_not_there(native: Session, first: int, count: int, reason: str) -> None:
    native.exchange(Command.PROFILE, number(1))
    native.run("step", {"x": NUMBERS})
    assert read_log(native) == (3, 0)
    with pytest.raises(DeviceError, match=reason):
        native.exchange(Command.READ_PROFILE, struct.pack("<II", first, count))
    with pytest.raises(DeviceError, match="READ_PROFILE is cut off"):
        native.exchange(Command.READ_PROFILE, struct.pack("<I", first))


@pytest.mark.qemu
def test_more_records_than_a_frame_has_room_for(link: Any) -> None:
    with Session(link("qemu-uart"), handmade.manifest()) as session:
        session.exchange(Command.PROFILE, number(1))
        for _ in range(20):
            session.run("step", {"x": NUMBERS})
        with pytest.raises(DeviceError, match="longer than a frame"):
            session.exchange(Command.READ_PROFILE, struct.pack("<II", 0, 60))


def test_a_board_without_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native_board = find_target("native")
    board, *others = native_board.sources
    text = board.read_text()
    before, _, rest = text.partition("/* Nanoseconds. */")
    (tmp_path / "board.c").write_text(before + rest[rest.index("void mct_board_start") :])
    bare = dataclasses.replace(native_board, sources=(tmp_path / "board.c", *others))
    monkeypatch.setattr(handmade, "find_target", lambda name: bare)
    transport = native_simulator.start(handmade.build("native", tmp_path / "firmware"))
    with Session(transport, handmade.manifest()) as session:
        with pytest.raises(DeviceError, match="no room to keep what kernel calls take — use a target with"):
            run_counted(session, "step", {"x": NUMBERS})
        np.testing.assert_array_equal(session.run("step", {"x": NUMBERS}, ["y"])["y"], NUMBERS * 2 + 1)


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def read_log(session: Session) -> tuple[int, ...]:
    """Records in the log, and records lost."""
    return struct.unpack("<II", session.exchange(Command.READ_PROFILE, struct.pack("<II", 0, 0)))


class Fake:
    """A device that answers what it is told to; it stands for a Session."""

    def __init__(self, answers: dict[Command, list[bytes]]) -> None:
        self.answers = answers
        self.manifest = handmade.manifest()
        self.facts = DeviceFacts(1, 4096, 8, 2, 4096, 1 << 20, "")

    def run(self, *arguments: Any) -> dict[str, Any]:
        return {}

    def exchange(self, command: Command, body: bytes = b"") -> bytes:
        answers = self.answers[command]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def facts(
    layout: int = 1,
    rate: int = 0,
    capacity: int = 100,
    words: int = 5 + 2 * 8,
    workers: int = 8,
    counts: tuple[int, ...] = (0, 1),
) -> bytes:
    return struct.pack(f"<{6 + len(counts)}I", layout, rate, capacity, words, workers, len(counts), *counts)


def log(records: list[list[int]], total: int | None = None, lost: int = 0) -> bytes:
    body = struct.pack("<II", len(records) if total is None else total, lost)
    return body + b"".join(struct.pack(f"<{len(record)}I", *record) for record in records)


def good() -> list[list[int]]:
    """A log of Program `step`, whose clock wraps in its first call."""
    counts = [0xFFFFFFF8, 0x10] * 8
    return [
        [0, 0, 0xFFFFFFF0, 0x20, 0xFFFFFFFF, *counts],
        [0, 1, 0x30, 0x40, 7, *[0x31, 0x3F] * 8],
        [0, 0xFFFFFFFF, 0xFFFFFFE0, 0x50, 0x8, *[0] * 16],
    ]


def counted_by(answers: dict[Command, list[bytes]]) -> profile.RunCounts:
    return run_counted(Fake(answers), "step")  # type: ignore[arg-type]


def test_the_clock_wraps() -> None:
    counted = counted_by({Command.PROFILE: [facts()], Command.READ_PROFILE: [log(good())]})
    first, second = counted.calls
    assert counted.clock.counts_cycles
    assert counted.duration == 0x70 - 8
    assert (first.begin, first.end, first.transfers) == (0x10, 0x40, None)
    assert first.workers == ({"begin": 0x18, "end": 0x30},) * 8
    assert (second.begin, second.end, second.transfers) == (0x50, 0x60, 7)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"layout": 2}, LinkError),
        ({"words": 20}, LinkError),
        ({"workers": 7}, LinkError),
        ({"counts": (0, 99)}, LinkError),
        ({"capacity": 1}, DeviceError),
        ({"counts": (0,) * 400, "words": 5 + 8 * 400}, DeviceError),
    ],
)
def test_facts_that_do_not_fit(changed: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        counted_by({Command.PROFILE: [facts(**changed)], Command.READ_PROFILE: [log(good())]})


def test_an_older_firmware_is_told_of(native: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: Command, body: bytes = b"") -> bytes:
        raise DeviceError("native refused PROFILE: there is no such command (status 2)", "")

    monkeypatch.setattr(native, "exchange", refuse)
    with pytest.raises(DeviceError, match=r"does not count what kernel calls take.*compile the model again"):
        run_counted(native, "step")


@pytest.mark.parametrize("seed", range(200))
def test_damaged_answers_are_one_clear_error(seed: int) -> None:
    chance = random.Random(seed)
    records = good()
    kind = chance.randrange(5)
    if kind == 0:
        chance.choice(records)[chance.randrange(2)] += 1
        records = [[word & 0xFFFFFFFF for word in record] for record in records]
        answers = [log(records)]
    elif kind == 1:
        answers = [log(records)[: chance.randrange(260)]]
    elif kind == 2:
        answers = [log(records, total=chance.choice((0, 1, 2, 4, 1 << 31)))]
    elif kind == 3:
        answers = [log(records, lost=1)]
    else:
        answers = [log(records) + chance.randbytes(chance.randrange(1, 9))]
    beginning = facts() if chance.random() < 0.7 else facts()[: chance.randrange(32)]
    with pytest.raises((LinkError, DeviceError)):
        counted_by({Command.PROFILE: [beginning], Command.READ_PROFILE: answers})
