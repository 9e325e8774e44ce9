"""Targets may replace kernel files by variants of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mcutrain.compiler.toolchain import kernel_source
from mcutrain.targets import find_target


def test_a_kernel_may_have_a_variant_for_some_targets(tmp_path: Path) -> None:
    for path in ("kernels/a.c", "kernels/b.c", "kernels/tiled/a.c", "kernels/small/a.c"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    def chosen(stem: str, *variants: str) -> str:
        target = replace(find_target("native"), kernel_variants=variants)
        return str(kernel_source(tmp_path, target, stem).relative_to(tmp_path / "kernels"))

    assert chosen("a") == "a.c"
    assert chosen("a", "tiled", "small") == str(Path("tiled", "a.c"))
    assert chosen("a", "missing", "small") == str(Path("small", "a.c"))
    assert chosen("b", "tiled") == "b.c"
