"""Whatever stands in a log, a certificate, a store or a file of weights: our error, or values that hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rollback import compiled, everything, train_all

from mcutrain.build import REFERENCE_FILE as STORE
from mcutrain.build import Build
from mcutrain.errors import DataError, McutrainError, StoreError
from mcutrain.hoststore import HostStore
from mcutrain.logstore import LogCopy
from mcutrain.runlog import REFERENCE_COPY, RunLog
from mcutrain.runrecords import Forgotten, RequestRecord, RunRecord, decode_all
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.certificate import REFERENCE_FILE, canonical, check, read
from mcutrain.unlearning.recheck import recheck
from mcutrain.unlearning.requests import forget
from mcutrain.weights import memories, read_state, write_npz

FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
SCALARS = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def logged(dense_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path]:
    """A build whose reference has forgotten two samples, and a folder for damaged files."""
    folder = tmp_path_factory.mktemp("foreign")
    build = compiled(dense_model, folder)
    x, y = everything()
    with build.reference(store=True) as learner:
        log = RunLog.open(build, learner)
        train_all(log)
        for row in (3, 20):
            task = Task(learner, (x[row : row + 1], y[row : row + 1]), everything(), build=build)
            forget(log, find_method("rollback"), task)
    return build, folder


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in a JSON value."""
    yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield from paths(below, (*above, key))


def damaged(data: st.DataObject, value: Any) -> Any:
    """``value`` with one value in it exchanged or left out."""
    where = data.draw(st.sampled_from(list(paths(value))))
    if not where:
        return data.draw(VALUES)
    copy = json.loads(json.dumps(value))
    place = copy
    for key in where[:-1]:
        place = place[key]
    if data.draw(st.booleans()):
        place[where[-1]] = data.draw(VALUES)
    else:
        del place[where[-1]]
    return copy


def bytes_of(data: st.DataObject, whole: bytes) -> bytes:
    """``whole`` with bytes exchanged, cut out or put in; or any bytes."""
    if data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.binary(max_size=200))
    at = data.draw(st.integers(0, len(whole)))
    gone = data.draw(st.integers(0, 40))
    return whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + gone :]


@FUZZ
@given(data=st.data())
def test_a_copy_of_a_log(logged: tuple[Build, Path], data: st.DataObject) -> None:
    build, folder = logged
    whole = (build.state_folder / REFERENCE_COPY).read_bytes()
    path = folder / "log.json"
    structured = data.draw(st.booleans())
    text = json.dumps(damaged(data, json.loads(whole))).encode() if structured else bytes_of(data, whole)
    path.write_bytes(text)
    with suppress(StoreError):
        for run in LogCopy.read(path).runs:
            run.visits()
            assert all(len(sample) == 32 for sample in run.hashes)


@FUZZ
@given(data=st.data())
def test_a_chain_of_certificates(logged: tuple[Build, Path], data: st.DataObject) -> None:
    build, folder = logged
    whole = (build.directory / REFERENCE_FILE).read_bytes()
    path = folder / "certificates.jsonl"
    if data.draw(st.booleans()):
        lines = [json.loads(line) for line in whole.splitlines()]
        text = b"".join(canonical(line) + b"\n" for line in damaged_lines(data, lines))
    else:
        text = bytes_of(data, whole)
    path.write_bytes(text)
    certificates, findings = read(path)
    # that the last ones were left out only the device knows
    assert (text and whole.startswith(text)) or findings or check(certificates)


def damaged_lines(data: st.DataObject, lines: list[Any]) -> list[Any]:
    at = data.draw(st.integers(0, len(lines) - 1))
    return [*lines[:at], damaged(data, lines[at]), *lines[at + 1 :]]


@FUZZ
@given(data=st.data())
def test_a_forged_chain_is_found_or_repeated(logged: tuple[Build, Path], data: st.DataObject) -> None:
    """A text of any kind, to which somebody has made the hashes fit."""
    build, _ = logged
    certificates, _ = read(build.directory / REFERENCE_FILE)
    text = damaged(data, dict(certificates[0].text))
    if not isinstance(text, dict):
        return
    forged = forge(certificates[0], text)
    if not check([forged]):
        with build.reference(store=False) as learner:
            x, y = everything()
            log = LogCopy.read(build.state_folder / REFERENCE_COPY)
            (result,) = recheck([forged], log, learner, x[:1], y[:1])
            assert result.status == "not done"


def forge(certificate: Any, text: dict[str, Any]) -> Any:
    digest = hashlib.sha256(canonical(text)).digest()
    return replace(certificate, text=text, record=replace(certificate.record, text=digest))


@FUZZ
@given(data=st.data())
def test_records_of_a_store(logged: tuple[Build, Path], data: st.DataObject) -> None:
    run = LogCopy.read(logged[0].state_folder / REFERENCE_COPY).runs[0].encode()
    head, _, hashes = run.partition(b"\n")
    structured = data.draw(st.booleans())
    bad = json.dumps(damaged(data, json.loads(head))).encode() + b"\n" + hashes
    with suppress(ValueError):
        RunRecord.decode(bad if structured else bytes_of(data, run)).visits()
    for cls, example in (
        (Forgotten, {"hash": "ab" * 32, "through": 1, "request": 1}),
        (RequestRecord, {"number": 1, "method": "ssd", "status": "begun", "samples": 2}),
    ):
        with suppress(ValueError):
            decode_all(cls, json.dumps(damaged(data, example)).encode())


@FUZZ
@given(data=st.data())
def test_the_store_of_a_reference(logged: tuple[Build, Path], data: st.DataObject) -> None:
    build, folder = logged
    whole = (build.state_folder / STORE).read_bytes()
    path = folder / "reference.store"
    head, _, rest = whole.partition(b"\n")
    structured = data.draw(st.booleans())
    bad = json.dumps(damaged(data, json.loads(head))).encode() + b"\n" + rest
    path.write_bytes(bad if structured else bytes_of(data, whole))
    with build.reference(store=False) as learner, suppress(McutrainError):
        store = HostStore(learner.executor, build.manifest, path)
        for name in store.entries():
            with suppress(McutrainError):
                store.read(name)


@FUZZ
@given(data=st.data())
def test_weights_of_an_earlier_request(logged: tuple[Build, Path], data: st.DataObject) -> None:
    build, folder = logged
    path = folder / "state.npz"
    names = [t.origin.initializer for t in build.manifest.parameters() if t.origin]
    names += [t.name for t in memories(build.manifest)]
    kinds = st.sampled_from([np.float32, np.uint8, np.float64, np.complex64, np.dtype("U3"), np.bool_])
    shapes = st.lists(st.integers(0, 3), max_size=4)
    held = data.draw(st.sets(st.sampled_from(names)))
    write_npz(path, {name: np.zeros(data.draw(shapes), data.draw(kinds)) for name in held})
    if data.draw(st.booleans()):
        path.write_bytes(bytes_of(data, path.read_bytes()))
    with build.reference(store=False) as learner, suppress(DataError):
        weights, state = read_state(path, build.manifest)
        learner.load(weights)
        learner.executor.write(state)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"epochs": 0},
        {"number": 0},
        {"seed": -1},
        {"done": 10**6},
        {"done": True},
        {"steps": 3},
        {"lr": "0.1"},
        {"name": 5},
        {"shuffle": 1},
        {"hashes": ["00"]},
        {"hashes": None},
        {"more": 1},
    ],
)
def test_runs_that_cannot_be(logged: tuple[Build, Path], changes: dict[str, Any]) -> None:
    build, folder = logged
    value = json.loads((build.state_folder / REFERENCE_COPY).read_bytes())
    value["runs"][1] |= changes
    path = folder / "log.json"
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match="damaged"):
        LogCopy.read(path)
