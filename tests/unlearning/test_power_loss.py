"""Power lost in the middle of a request: the model is as before it or as after it, and the log says which."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rollback import compiled, opened, options, samples

from mcutrain.build import Build
from mcutrain.errors import McutrainError
from mcutrain.runlog import RunLog
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.certificate import FILE_NAME, catch_up, check, read
from mcutrain.unlearning.requests import forget

#: Kept between the trials beside a build: flash, copy of the log, certificates.
KEPT = "kept"


def train(log: RunLog) -> None:
    for run in (1, 2):
        log.record_run(f"run {run}", *samples(run), **options(run))


def request(log: RunLog, build: Build, on_event: Any = None) -> None:
    x, y = (np.concatenate(parts) for parts in zip(samples(1), samples(2), strict=True))
    task = Task(log.learner, forget=(x[3:4], y[3:4]), retain=(x, y), build=build, on_event=on_event)
    forget(log, find_method("rollback"), task)


def keep(build: Build) -> None:
    shutil.copytree(build.state_folder, build.directory / KEPT)


def put_back(build: Build) -> None:
    shutil.rmtree(build.state_folder)
    shutil.copytree(build.directory / KEPT, build.state_folder)
    (build.directory / FILE_NAME).unlink(missing_ok=True)


def outcome(build: Build, before: str, after: str) -> str:
    """What a restart finds: checks that weights, journal, forgotten samples, snapshots and chain agree."""
    with opened(build, "device") as log:
        found = log.weights_hash()
        assert found in (before, after)
        sample = log.sample_hashes(*samples(1))[3]
        assert log.forgotten(sample) == (found == after)
        assert log.snapshots() == [1, 2]
        said = [request.status for request in log.requests]
        if found == before:
            assert said in ([], ["interrupted"])
            assert all("the model is as it was before it" in message for message in log.messages)
        else:
            assert said == ["certified"]
            assert log.requests[0].after == after
            assert log.store.facts().entries
        if log.messages:
            assert len(log.messages) == 1
        catch_up(log, build.directory / FILE_NAME)
        messages = log.messages
    if found == after:
        certificates, findings = read(build.directory / FILE_NAME)
        assert findings == []
        assert check(certificates) == []
        assert [c.record.after.hex() for c in certificates] == [after]
    with opened(build, "device") as log:
        assert log.messages == []
        if found == before:
            request(log, build)
        assert log.weights_hash() == after
    return "after" if found == after else messages[0] if messages else "before"


def prepared(model: Path, folder: Path, target: str) -> tuple[Build, str, str]:
    """A build with two runs, and the hashes of its weights before and after the request."""
    build = compiled(model, folder, target)
    with opened(build, "device") as log:
        train(log)
        before = log.weights_hash()
    keep(build)
    with opened(build, "device") as log:
        request(log, build)
        return build, before, log.weights_hash()


def is_cut(build: Build) -> bool:
    """Make the request; whether the power is lost meanwhile."""
    try:
        with opened(build, "device") as log:
            request(log, build)
    except McutrainError as error:
        return "its power was cut" in error.reason
    return False


@pytest.mark.parametrize(("first", "step"), [(4, 11), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_at_any_operation_of_the_flash(
    dense_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, step: int
) -> None:
    """The n-th page or erasure since the device started is done by half, for n = first, first + step …"""
    build, before, after = prepared(dense_model, tmp_path, "native")
    found = []
    for n in range(first, 10_000, step):
        put_back(build)
        monkeypatch.setenv("MCUTRAIN_FLASH_FAILS", str(n))
        cut = is_cut(build)
        monkeypatch.delenv("MCUTRAIN_FLASH_FAILS")
        if not cut:
            break
        found.append(outcome(build, before, after))
    assert len(found) > 3
    assert found[0] == "before" if first == 1 else found[0] != "after"
    assert found[-1] == "after" or step > 1
    # once it is done it stays done
    assert [result == "after" for result in found] == sorted(result == "after" for result in found)
    assert any("was interrupted" in result for result in found)


def kill(log: RunLog) -> None:
    """SIGKILL for the simulator itself."""
    group = log.learner.executor._transport.process.identifier  # type: ignore[attr-defined]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            name = (entry / "exe").resolve().name
        except OSError:
            continue
        if int(fields[2]) == group and name.startswith("qemu"):
            os.kill(int(entry.name), signal.SIGKILL)


@pytest.mark.qemu
@pytest.mark.parametrize("step", [2, 14])
def test_qemu_killed_in_the_middle_of_training(dense_model: Path, tmp_path: Path, step: int) -> None:
    build, before, after = prepared(dense_model, tmp_path, "qemu")
    put_back(build)

    def on_event(event: Any) -> None:
        if event.done == step:
            kill(log)

    with pytest.raises(McutrainError), opened(build, "device") as log:
        request(log, build, on_event)
    assert "was interrupted" in outcome(build, before, after)


@pytest.mark.qemu
def test_qemu_killed_at_some_moment(dense_model: Path, tmp_path: Path) -> None:
    build, before, after = prepared(dense_model, tmp_path, "qemu")
    for delay in (0.02, 0.1, 0.25, 0.5):
        put_back(build)
        try:
            with opened(build, "device") as log:
                timer = threading.Timer(delay, kill, [log])
                timer.start()
                request(log, build)
                timer.join()
        except McutrainError:
            pass
        timer.join()
        outcome(build, before, after)
