"""What is forgotten, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.errors import DataError, OptionError
from mcutrain.evaluation import requests
from mcutrain.evaluation.schedule import Phase, Schedule

LABELS = np.array([0, 1, 2, 1, 0, 1])


def test_by_class_group_rows_and_chance() -> None:
    request = requests.by_class(LABELS, 1)
    assert request.rows.tolist() == [1, 3, 5]
    assert request.classes == (1,)
    assert requests.by_group(np.array(["ann", "bob", "ann"]), "ann").rows.tolist() == [0, 2]
    assert requests.by_rows([4, 1, 4]).rows.tolist() == [1, 4]
    drawn = requests.at_random(200, 0.05, seed=1)
    assert len(drawn.rows) == 10
    assert drawn.rows.tolist() == requests.at_random(200, 0.05, seed=1).rows.tolist()
    assert drawn.rows.tolist() != requests.at_random(200, 0.05, seed=2).rows.tolist()


HASHES = [bytes([i]) * 32 for i in range(4)]


def test_a_file_of_rows_or_of_hashes(tmp_path: Path) -> None:
    path = tmp_path / "request.txt"
    path.write_text("# a few\n3\n\n 1 # and this\n")
    named = requests.read_file(path)
    assert (named.rows.tolist(), named.hashes) == ([3, 1], ())
    assert named.find([]).tolist() == [3, 1]
    path.write_text(f"{HASHES[2].hex().upper()}\n# or\n{HASHES[0].hex()} # this\n")
    named = requests.read_file(path)
    # a sample that is there twice is forgotten twice
    assert named.find([*HASHES, HASHES[0]]).tolist() == [2, 0, 4]
    with pytest.raises(
        DataError, match=r"1 of 2 hashes are of no sample .* \(the first is 0202020202020202…"
    ):
        named.find(HASHES[:2])
    path.write_text("")
    assert len(requests.read_file(path).rows) == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"{HASHES[0].hex()}\n12\n", "line 2: '12' is no hash"),
        (f"12\n{HASHES[0].hex()}\n", "line 1: '12' is no hash"),
        (f"{HASHES[0].hex()[:-1]}\n", "line 1: '0000.* is no row number"),
        ("1\n-2\n", "line 2: '-2' is no row number"),
        ("1\n²\n", "line 2: '²' is no row number"),
        ("9" * 19, "line 1: '9999.* is no row number"),
    ],
)
def test_lines_that_name_nothing(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "request.txt"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=match):
        requests.read_file(path)


@given(st.binary(max_size=200))
def test_whatever_is_in_a_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "whatever.txt"
    path.write_bytes(data)
    with suppress(DataError):
        named = requests.read_file(path)
        assert not (len(named.rows) and named.hashes)
        assert all(row >= 0 for row in named.rows)


def test_worst_case_takes_the_lowest_losses() -> None:
    assert requests.worst_case(np.array([0.5, 0.1, 0.9, 0.2]), 0.5).rows.tolist() == [1, 3]


def test_requests_in_a_row_add_up() -> None:
    both = requests.together([requests.by_class(LABELS, 2), requests.by_rows([0, 2])])
    assert both.rows.tolist() == [0, 2]
    assert both.classes == (2,)


@pytest.mark.parametrize(
    ("request_", "match"),
    [
        (requests.by_rows([], "none"), "no training sample"),
        (requests.by_rows([0, 6]), "names sample 6"),
        (requests.by_rows(range(6)), "all training data"),
    ],
)
def test_requests_that_cannot_be(request_: requests.Request, match: str) -> None:
    with pytest.raises(DataError, match=match):
        request_.check(6)


def test_unknown_class_and_group_are_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match="the classes are 0, 1, 2"):
        requests.by_class(LABELS, 7)
    with pytest.raises(DataError, match="the groups are ann"):
        requests.by_group(np.array(["ann"]), "bob")


def test_poison_stamps_a_patch_and_changes_nothing_else() -> None:
    x = np.random.default_rng(0).uniform(0, 0.5, (40, 6, 5, 2)).astype(np.float32)
    y = np.arange(40) % 4
    poison = requests.Poison(target=3, value=9.0)
    samples, labels, rows = poison.spread(x, y, 0.25, seed=2)
    assert len(rows) == 10
    assert (y[rows] != 3).all()
    assert (labels[rows] == 3).all()
    assert (samples[rows, :3, :3] == 9).all()
    untouched = np.setdiff1d(np.arange(40), rows)
    assert (samples[untouched] == x[untouched]).all()
    assert (samples[rows, 3:] == x[rows, 3:]).all()
    assert (samples[rows, :, 3:] == x[rows, :, 3:]).all()
    assert x.max() < 1
    known = requests.poisoned(rows, 0.5, seed=3)
    assert len(known.rows) == 5
    assert set(known.rows) < set(known.lacking) == set(rows)
    assert len(requests.poisoned(rows, 1.0).rows) == 10


def test_a_flat_sample_is_stamped_as_the_image_it_is() -> None:
    x = np.zeros((2, 64), np.float32)
    stamped = requests.stamp(x, image=(8, 8), value=1.0)
    assert stamped.shape == (2, 64)
    assert stamped.reshape(2, 8, 8)[:, :3, :3].sum() == stamped.sum() == 18
    with pytest.raises(OptionError, match="no patch"):
        requests.stamp(x)


def test_schedules() -> None:
    parsed = Schedule.parse("40:0.002, 20:0.0004", batch=5, momentum=0.9)
    assert parsed.phases == (Phase(40, 0.002), Phase(20, 0.0004))
    assert parsed.epochs == 60
    assert parsed.streamed(100) == 6000
    assert Schedule.from_json(parsed.as_json()) == parsed
    for wrong in ("", "3", "x:1", "3:y", "0:1", "3:1,"):
        with pytest.raises(OptionError, match="EPOCHS:RATE"):
            Schedule.parse(wrong)
