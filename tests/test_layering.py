"""Imports never go up: the floors of the architecture, checked on the source.

(ir, numerics, manifest, targets, executor) → ops → (compiler, reference, device)
→ simulators → (unlearning, evaluation) → cli; ``compiler/`` and ``device/`` never
import each other.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "mcutrain"

#: The floor of every room, by the longest matching prefix under ``mcutrain``.
FLOORS = {
    "errors": 0,
    "words": 0,
    "files": 0,
    "ir": 1,
    "numerics": 1,
    "manifest": 2,
    "targets": 2,
    "executor": 2,
    "events": 2,
    "npz": 2,
    "work": 3,
    "store": 3,
    "hoststore": 3,
    "interrupt": 3,
    "data": 3,
    "tile_file": 3,
    "divergence": 3,
    "ops": 3,
    "compiler": 4,
    "reference": 4,
    "device": 4,
    "learning": 4,
    "descent": 4,
    "verification": 4,
    "verification_walk": 3,
    "simulators": 5,
    "meter": 4,
    "runrecords": 5,
    "logstore": 5,
    "requestlog": 5,
    "runlog": 6,
    "build": 6,
    "tuning": 7,
    "weights": 6,
    "doctor": 6,
    "profiling": 6,
    "unlearning": 6,
    "evaluation": 6,
    "onnx_backend": 7,
    "__init__": 8,
    "cli": 9,
    "__main__": 10,
}
#: Rooms of one floor that still must not know each other.
STRANGERS = [("compiler", "device"), ("device", "compiler"), ("ops", "data"), ("simulators", "compiler")]


def room(module: str) -> str:
    """``mcutrain.ops.base`` → ``ops``."""
    return module.split(".")[1] if "." in module else "__init__"


def imports() -> list[tuple[str, str, int]]:
    """Every import of ours by ours: importing module, imported module, line."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_data" in path.parts:
            continue
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno}: relative imports hide where they lead"
                targets = [node.module or ""]
                if node.module == "mcutrain":
                    targets = [f"mcutrain.{alias.name}" for alias in node.names]
            else:
                continue
            found += [(module, t, node.lineno) for t in targets if t.split(".")[0] == "mcutrain"]
    return found


def test_every_module_has_a_floor() -> None:
    names = {p.stem if p.suffix == ".py" else p.name for p in PACKAGE.iterdir() if not p.name.startswith("_")}
    assert names - {"py"} <= set(FLOORS), "give the new room a floor in this test and in the architecture"


def test_no_import_goes_up() -> None:
    wrong = [
        f"{importer}:{line} imports {imported}"
        for importer, imported, line in imports()
        if FLOORS[room(imported)] > FLOORS[room(importer)]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("importer", "imported"), STRANGERS)
def test_rooms_that_do_not_know_each_other(importer: str, imported: str) -> None:
    wrong = [
        f"{source}:{line} imports {target}"
        for source, target, line in imports()
        if room(source) == importer and room(target) == imported
    ]
    assert not wrong, "\n".join(wrong)


def test_the_bottom_needs_nothing_of_ours() -> None:
    """ir, numerics, executor and targets rest on the error family alone (manifest also on ir's types)."""
    allowed = {"ir": {"errors"}, "numerics": {"errors"}, "executor": {"errors"}, "targets": {"errors"}}
    for importer, imported, line in imports():
        if room(importer) in allowed and room(importer) != room(imported):
            assert room(imported) in allowed[room(importer)], f"{importer}:{line} imports {imported}"
