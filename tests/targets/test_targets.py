"""Target files: the ones we have, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcutrain.targets
from mcutrain.errors import TargetError
from mcutrain.targets import find_target, list_targets, resources

GOOD = """
description = "a board"
simulator = ""
link = "uart"
workers = 4
dot = "pairwise-rn32"
maximum_body = 1024
[memory]
name = "L2"
size = 1000
[compiler]
flags = ["-O2"]
sources = ["board.c"]
executable = "firmware.elf"
definitions = { ANSWER = 42 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty targets/ folder in place of ours."""
    (tmp_path / "targets").mkdir()
    monkeypatch.setattr(mcutrain.targets, "resources", lambda: tmp_path)
    return tmp_path / "targets"


def add(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "target.toml").write_text(text)


def test_our_targets() -> None:
    assert {"native", "qemu", "qemu-uart"} <= set(list_targets())
    for name in list_targets():
        target = find_target(name)
        assert target.name == name
        assert target.description
        assert all(path.is_file() for path in target.sources)
        assert all(path.is_dir() for path in target.include)
        assert target.linker_script is None or target.linker_script.is_file()
        assert target.definitions["MCT_MAXIMUM_BODY"] == str(target.maximum_body)
        assert target.memory.size > 0


def test_a_variant_shares_its_base_and_overrides() -> None:
    base, variant = find_target("qemu"), find_target("qemu-uart")
    assert variant.sources == base.sources
    assert variant.flags == base.flags
    assert (base.link, variant.link) == ("semihosting", "uart")
    assert "MCT_LINK_UART" in variant.definitions
    assert "MCT_LINK_SEMIHOSTING" not in variant.definitions


def test_resources_of_a_checkout_and_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mcutrain"
    (package / "_data" / "targets" / "runtime").mkdir(parents=True)
    (package / "_data" / "targets" / "runtime" / "mct_model.h").touch()
    assert (resources() / "kernels").is_dir()
    monkeypatch.setattr(mcutrain.targets, "__file__", str(package / "targets.py"))
    assert resources() == package / "_data"
    (package / "_data" / "targets" / "runtime" / "mct_model.h").unlink()
    with pytest.raises(TargetError, match="reinstall"):
        resources()


def test_a_good_file(folder: Path) -> None:
    add(folder, "board", GOOD)
    add(folder, "variant", 'inherit = "board"\nworkers = 2\n[compiler]\ndefinitions = { OTHER = "x" }\n')
    target = find_target("board")
    assert (target.workers, target.link_flags, target.linker_script) == (4, (), None)
    assert target.sources == (folder / "board" / "board.c",)
    assert target.definitions == {"ANSWER": "42", "MCT_LINK_UART": "1", "MCT_MAXIMUM_BODY": "1024"}
    assert target.fast_memory is None
    variant = find_target("variant")
    assert variant.workers == 2
    assert variant.sources == target.sources
    assert variant.definitions["OTHER"] == "x"


def test_a_scratch_pad_without_what_is_reserved(folder: Path) -> None:
    add(folder, "board", GOOD + '[fast_memory]\nname = "L1"\nsize = 65536\nreserved = 1536\n')
    target = find_target("board")
    assert target.fast_memory is not None
    assert target.fast_memory.usable == 64000
    assert target.definitions["MCT_L1_SIZE"] == "64000"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("workers = 4", "", "lacks the key 'workers'"),
        ("workers = 4", "workers = 9", "workers is 9 — give 1 to 8"),
        ("workers = 4", 'workers = "4"', "'workers' must be of type int"),
        ("workers = 4", "workers = true", "'workers' must be of type int"),
        ("workers = 4", "workers = 4\nwrokers = 4", "unknown key 'wrokers'"),
        ("size = 1000", "size = 1000\nspeed = 1", "unknown key 'memory.speed'"),
        ('link = "uart"', 'link = "radio"', "link 'radio' is unknown"),
        ('simulator = ""', 'simulator = "spice"', "simulator 'spice' is unknown"),
        ("maximum_body = 1024", "maximum_body = 10", "maximum_body 10"),
        ("[memory]", "[memory", "cannot read"),
        (
            "[memory]",
            '[fast_memory]\nname = "L1"\nsize = 4096\nreserved = 4000\n[memory]',
            "4000 of 4096 bytes of L1",
        ),
        (
            "[memory]",
            '[fast_memory]\nname = "L1"\nsize = 4096\n[memory]',
            "lacks the key 'fast_memory.reserved'",
        ),
        ("description", 'inherit = "nowhere"\ndescription', "inherits the unknown target 'nowhere'"),
        ("description", 'inherit = "board"\ndescription', "board → board"),
    ],
)
def test_mistakes_are_named(folder: Path, old: str, new: str, message: str) -> None:
    add(folder, "board", GOOD.replace(old, new, 1))
    with pytest.raises(TargetError, match=message):
        find_target("board")


def test_an_unknown_target_lists_those_there_are() -> None:
    with pytest.raises(TargetError, match=r"unknown target 'esp32' — choose one of .*native.*qemu"):
        find_target("esp32")
