"""Certificates: any change of any byte is found, and exact methods can be repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_rollback import SEEDS, compiled, everything, options, samples, train_all

from mcutrain.build import Build
from mcutrain.logstore import LogCopy
from mcutrain.runlog import COPY, REFERENCE_COPY, RunLog
from mcutrain.store import Record
from mcutrain.unlearning import Task, find_method
from mcutrain.unlearning.certificate import (
    FILE_NAME,
    REFERENCE_FILE,
    Certificate,
    catch_up,
    check,
    read,
)
from mcutrain.unlearning.recheck import recheck
from mcutrain.unlearning.requests import forget

KEY = bytes(range(32))
GONE = [[(1, 2)], [(2, 5), (3, 6)], [(1, 7)]]


@contextmanager
def opened(build: Build, executor: str) -> Iterator[RunLog]:
    with build.reference(store=True) if executor == "reference" else build.session(store=True) as learner:
        yield RunLog.open(build, learner)


def ask(log: RunLog, build: Build, group: list[tuple[int, int]]) -> None:
    x = np.stack([samples(seed)[0][i] for seed, i in group])
    y = np.array([samples(seed)[1][i] for seed, i in group])
    task = Task(log.learner, forget=(x, y), retain=everything(), build=build, validation=samples(9))
    assert forget(log, find_method("rollback"), task).certificate is not None


@pytest.fixture(scope="module", params=["native", "reference"])
def certified(
    request: pytest.FixtureRequest, dense_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Build, Path, Path]:
    """A build, its certificates (the first without a key), and its log."""
    build = compiled(dense_model, tmp_path_factory.mktemp(request.param))
    with opened(build, request.param) as log:
        train_all(log)
        ask(log, build, GONE[0])
        log.store.set_key(KEY)
    with opened(build, request.param) as log:
        for group in GONE[1:]:
            ask(log, build, group)
        log.record_run("later", *samples(4), **options(2))
    name, copy = (FILE_NAME, COPY) if request.param == "native" else (REFERENCE_FILE, REFERENCE_COPY)
    return build, build.directory / name, build.state_folder / copy


def test_a_chain_is_right(certified: tuple[Build, Path, Path]) -> None:
    build, path, _ = certified
    certificates, findings = read(path)
    assert findings == []
    assert check(certificates) == []
    assert check(certificates, KEY) == []
    assert [c.record.counter for c in certificates] == [1, 2, 3]
    assert b"".join(c.line() for c in certificates) == path.read_bytes()
    text = certificates[1].text
    assert (text["method"], text["honesty"], text["request"]) == ("rollback", "exact", 2)
    assert text["trained_in"] == {"2": [5], "4": [6]}
    assert text["replayed"] == [2, 3, 4]
    assert text["snapshots_erased"] == text["snapshots_remade"] == [3, 4]
    assert text["code"]["firmware"] == hashlib.sha256(build.firmware_path.read_bytes()).hexdigest()
    assert text["metrics"]["after"]["validation"][0] == 12
    assert {name for name, _, _ in text["carriers"]} >= {"weights", "snapshots", "flash"}
    assert len({name for name, _, _ in text["carriers"]}) == len(text["carriers"])
    assert text["no_carriers"][0].startswith("replay buffers")
    assert text["state_before"] == certificates[0].text["state_after"] != text["state_after"]
    assert certificates[0].record.after == certificates[1].record.before
    assert "--replay" in certificates[0].meaning()
    softer = replace(certificates[0], text={**text, "honesty": "suppression"})
    assert "does not prove that nothing of the samples is left" in softer.meaning()


def test_any_flipped_byte_is_found(certified: tuple[Build, Path, Path], tmp_path: Path) -> None:
    """Every byte of the file, each with one bit flipped; without the key."""
    whole = certified[1].read_bytes()
    path = tmp_path / "certificates.jsonl"
    missed = []
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 7
        path.write_bytes(changed)
        certificates, findings = read(path)
        if not findings and not check(certificates):
            missed.append(at)
    assert missed == []


def test_a_forger_without_the_key_is_found(certified: tuple[Build, Path, Path]) -> None:
    """Someone who makes record, hashes and links fit anew still cannot sign."""
    certificates, _ = read(certified[1])
    last = certificates[-1]
    text = {**last.text, "samples": [*last.text["samples"][:-1], "00" * 32]}
    canonical = json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    record = replace(last.record, text=hashlib.sha256(canonical).digest())
    forged = [*certificates[:-1], Certificate(text, record)]
    assert check(forged) == []
    assert [f.reason for f in check(forged, KEY)] == ["its signature is wrong"]
    assert check(certificates, bytes(32))[0].reason == "is not of the device with this key"
    unsigned = replace(record, flags=record.flags & 1, signature=bytes(32), device_id=bytes(16))
    findings = check([*certificates[:-1], Certificate(text, unsigned)])
    assert findings[0].reason == "is not signed, but earlier ones are"


def test_left_out_or_exchanged_certificates_are_found(certified: tuple[Build, Path, Path]) -> None:
    certificates, _ = read(certified[1])
    assert check(certificates[1:])[0].line == 1
    assert check([certificates[0], certificates[2]])[0].line == 2
    assert check([certificates[1], certificates[0]])
    assert check(certificates[:2]) == []  # only the device knows that there are more


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_repeating_gives_the_certified_hashes(certified: tuple[Build, Path, Path], executor: str) -> None:
    build, path, copy = certified
    certificates, _ = read(path)
    start = build.reference if executor == "reference" else build.session
    x, y = everything()
    with start(store=False) as learner:
        results = recheck(certificates, LogCopy.read(copy), learner, x, y)
        assert [(r.line, r.status) for r in results] == [(1, "equal"), (2, "equal"), (3, "equal")]
        gone = [np.array_equal(row, samples(2)[0][5]) for row in x]
        keep = ~np.array(gone)
        results = recheck(certificates, LogCopy.read(copy), learner, x[keep], y[keep])
        # what was forgotten later was still there at the first
        assert [r.status for r in results] == ["not done", "equal", "equal"]
        assert "the data lacks 1 sample of 12 in run 'run 1'" in results[0].reason
        wrong = replace(certificates[1].record, after=bytes(32))
        spoiled = [certificates[0], replace(certificates[1], record=wrong), certificates[2]]
        assert recheck(spoiled, LogCopy.read(copy), learner, x, y)[1].status == "differs"
        text = {**certificates[0].text, "honesty": "removal", "method": "ssd"}
        results = recheck([replace(certificates[0], text=text)], LogCopy.read(copy), learner, x, y)
        assert results[0].status == "not done"
        assert "ssd is not exact" in results[0].reason


def test_a_certificate_missing_in_the_file_is_added(dense_model: Path, tmp_path: Path) -> None:
    build = compiled(dense_model, tmp_path)
    path = build.directory / FILE_NAME
    with opened(build, "native") as log:
        for run, seed in enumerate(SEEDS[:2]):
            log.record_run(f"run {run}", *samples(seed), **options(run))
        ask(log, build, [(1, 2)])
        ask(log, build, [(1, 3)])
        whole = path.read_bytes()
        path.write_bytes(whole.splitlines(keepends=True)[0])
        assert catch_up(log, path)
        assert path.read_bytes() == whole
        assert not catch_up(log, path)


def test_a_record_is_packed_as_the_device_does() -> None:
    record = Record(bytes(16), 1, bytes(32), bytes(32), bytes(32), bytes(32), bytes(32), 2, 3)
    assert Record.unpack(record.pack()) == record
    for data in (b"", record.pack()[:-1], b"X" + record.pack()[1:]):
        with pytest.raises(ValueError, match="record"):
            Record.unpack(data)
