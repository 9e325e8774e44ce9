"""Sessions: the Executor over native, QEMU's semihosted pty and QEMU's UART."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import handmade
import numpy as np
import pytest

from mcutrain.device.session import Session
from mcutrain.device.transport import Transport
from mcutrain.errors import BuildError, DataError, DeviceError, LinkError, OptionError


def ramp() -> np.ndarray:
    return (np.arange(1024, dtype=np.float32) / 8).reshape(32, 32)


def test_run_writes_runs_and_reads(session: Session) -> None:
    outputs = session.run("step", {"x": ramp()}, ["y", "counts"])
    np.testing.assert_array_equal(outputs["y"], ramp() * 2 + 1)
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].shape == (32, 32)
    np.testing.assert_array_equal(outputs["counts"], np.ones(8, np.int32))
    assert session.repeated == 0


def test_part_of_a_program(session: Session) -> None:
    session.write({"counts": np.zeros(8, np.int32), "x": ramp()})
    session.run("step", calls=(0, 1))
    session.run("step", calls=(0, 1))
    outputs = session.run("step", calls=(1, 2), outputs=["counts", "y"])
    np.testing.assert_array_equal(outputs["counts"], np.full(8, 2, np.int32))
    np.testing.assert_array_equal(outputs["y"], ramp() * 2 + 1)
    np.testing.assert_array_equal(session.read(["y"])["y"], ramp() * 2 + 1)


def test_tensors_longer_than_a_frame(session: Session) -> None:
    bits = np.random.default_rng(3).integers(0, 2**32, 50_000, dtype=np.uint32)
    bits[1000:5000] = 0
    big = bits.view(np.float32)
    half = np.arange(15, dtype=np.float16).reshape(3, 5)
    steps: list[tuple[str, int, int]] = []
    session.progress = lambda *report: steps.append(report)
    session.write({"big": big, "half": half})
    back = session.read(["half", "big", "head"])
    np.testing.assert_array_equal(back["big"].view(np.uint32), bits)
    np.testing.assert_array_equal(back["half"], half)
    assert back["half"].dtype == np.float16
    assert back["head"][0] == 0x04030201
    assert ("write", 200_030, 200_030) in steps
    assert steps[-1] == ("read", 200_046, 200_046)


def test_run_with_tensors_longer_than_a_frame(session: Session) -> None:
    big = np.arange(50_000, dtype=np.float32)
    outputs = session.run("step", {"x": ramp(), "big": big}, ["big", "y"])
    np.testing.assert_array_equal(outputs["big"], big)
    np.testing.assert_array_equal(outputs["y"], ramp() * 2 + 1)


def test_long_program_reports_progress(session: Session) -> None:
    steps: list[tuple[str, int, int]] = []
    session.progress = lambda *report: steps.append(report)
    for _ in range(20):
        session.run("slow")
        if steps:
            break
    assert steps
    assert all(what == "slow" and 0 < done <= 101 and total == 101 for what, done, total in steps)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("name", ["native", pytest.param("qemu", marks=pytest.mark.qemu)])
def test_fewer_workers(link: Callable[[str], Transport], name: str, workers: int) -> None:
    with Session(link(name), handmade.manifest(), workers=workers) as session:
        outputs = session.run("step", {"x": ramp()}, ["counts", "y"])
        np.testing.assert_array_equal(outputs["counts"], [1] * workers + [0] * (8 - workers))
        np.testing.assert_array_equal(outputs["y"], ramp() * 2 + 1)


def test_more_workers_than_compiled_for(link: Callable[[str], Transport]) -> None:
    with pytest.raises(OptionError, match="for 8 workers, not 12"):
        Session(link("native"), handmade.manifest(), workers=12)


def test_another_build_is_refused_with_both_names(link: Callable[[str], Transport]) -> None:
    with pytest.raises(LinkError, match=r"abababababab.*handmade") as caught:
        Session(link("native"), handmade.manifest(build_id="ab" * 32))
    assert "ab0000000000" in str(caught.value)


def test_wrong_arrays_are_refused_before_they_are_sent(native: Session) -> None:
    with pytest.raises(DataError, match=r"'x' is float32\[32, 32\], not float64\[32, 32\]"):
        native.write({"x": ramp().astype(np.float64)})
    with pytest.raises(DataError, match=r"not float32\[1024\]"):
        native.run("step", {"x": ramp().ravel()})
    with pytest.raises(BuildError, match="no tensor 'z'"):
        native.read(["z"])
    with pytest.raises(BuildError, match="no Program 'walk'"):
        native.run("walk")


def test_the_device_checks_bounds(session: Session) -> None:
    with pytest.raises(DeviceError, match="outside its region"):
        session.write({"outside": np.zeros(4, np.int32)})
    with pytest.raises(DeviceError, match="outside its region"):
        session.read(["outside"])
    with pytest.raises(DeviceError, match="no such Program"):
        session.run("missing")
    with pytest.raises(DeviceError, match="no such kernel calls"):
        session.run("step", calls=(1, 3))
    # and goes on
    np.testing.assert_array_equal(session.run("step", {"x": ramp()}, ["y"])["y"], ramp() * 2 + 1)


def run_often(session: Session) -> None:
    for _ in range(1000):
        session.run("slow")


def test_keyboard_interrupt_leaves_the_device_ready(session: Session) -> None:
    session.write({"counts": np.zeros(8, np.int32)})
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_often(session)
    timer.join()
    before = session.read(["counts"])["counts"][0]
    assert before >= 1
    session.run("slow")
    assert session.read(["counts"])["counts"][0] == before + 1
    assert session.repeated == 0


def test_second_keyboard_interrupt_gives_up_at_once_and_the_next_request_gets_in_step(
    native: Session,
) -> None:
    inner = native._transport.read  # the response is held back until the second interrupt
    held = threading.Event()

    def read(timeout: float) -> bytes:
        if not held.is_set():
            time.sleep(min(timeout, 0.01))
            return b""
        return inner(timeout)

    native._transport.read = read  # type: ignore[method-assign]
    timers = [threading.Timer(t, os.kill, (os.getpid(), signal.SIGINT)) for t in (0.05, 0.15)]
    for timer in timers:
        timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        native.run("step", {"x": ramp()})
    assert time.monotonic() - start < 1
    held.set()
    np.testing.assert_array_equal(native.run("step", {"x": ramp()}, ["y"])["y"], ramp() * 2 + 1)


def test_closing_twice_and_using_a_closed_session(native: Session) -> None:
    native.close()
    native.close()
    with pytest.raises(LinkError, match="closed"):
        native.read(["x"])
