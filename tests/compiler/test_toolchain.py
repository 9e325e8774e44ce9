"""The toolchain: compilers found and refused, objects cached, links deterministic and as planned."""

from __future__ import annotations

import builtins
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_program import dense_plan

from mcutrain.compiler import toolchain
from mcutrain.compiler.elf import Elf, Symbol, read_elf
from mcutrain.compiler.emit import data_image, emit, write_sources
from mcutrain.compiler.toolchain import Firmware, build_firmware, check_link, find_compiler
from mcutrain.errors import MemoryLimitError, TargetError, ToolchainError
from mcutrain.targets import Memory, find_target

STRICT = ("-Wall", "-Wextra", "-Werror")
PLAN = dense_plan()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of these tests stay away from the user's; one cache for the session keeps it quick."""
    cache = tmp_path_factory.getbasetemp() / "object-cache"
    monkeypatch.setattr(toolchain.platformdirs, "user_cache_dir", lambda name: str(cache / name))
    monkeypatch.delenv(toolchain.COMPILER_VARIABLE, raising=False)
    monkeypatch.delenv(toolchain.FLAGS_VARIABLE, raising=False)


def build(folder: Path, target: str = "native", **changes: Any) -> Firmware:
    folder.mkdir()
    sources = emit("sample", PLAN, data_image(PLAN), "ab" * 32, 8)
    write_sources(sources, folder / "src")
    board = replace(find_target(target), **changes)
    output = folder / board.executable
    return build_firmware(
        board, folder / "src", sources.kernels, output, compiler=find_compiler(), flags=STRICT
    )


@pytest.mark.parametrize("target", ["native", "qemu", "qemu-uart"])
def test_a_build_is_as_planned_and_the_same_to_the_byte(tmp_path: Path, target: str) -> None:
    first, second = build(tmp_path / "first", target), build(tmp_path / "elsewhere", target)
    assert first.path.read_bytes() == second.path.read_bytes()
    check_link(first.elf, PLAN.data_size, PLAN.arena_size)
    contents = first.path.read_bytes()
    assert str(tmp_path).encode() not in contents
    assert str(Path.cwd()).encode() not in contents
    assert first.sizes["text"] > 0
    assert "mct_arena" in first.elf.map()


def test_objects_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "first")
    compiled: list[str] = []
    run = toolchain._run

    def recording(command: Any, folder: Any) -> str:
        compiled.extend(Path(part).name for part in command if part.endswith((".c", ".S")))
        return run(command, folder)

    monkeypatch.setattr(toolchain, "_run", recording)
    build(tmp_path / "second")
    assert sorted(compiled) == ["model.c", "weights.S"]


def test_other_weights_are_never_taken_from_a_cache(tmp_path: Path) -> None:
    outputs = []
    for number in (1, 2):
        image = bytes([number]) * PLAN.data_size
        folder = tmp_path / str(number)
        folder.mkdir()
        sources = emit("sample", PLAN, image, "ab" * 32, 8)
        write_sources(sources, folder / "src")
        target = find_target("qemu")
        firmware = build_firmware(
            target, folder / "src", sources.kernels, folder / "fw", compiler=find_compiler()
        )
        outputs.append(firmware.path.read_bytes())
        assert image in outputs[-1]
    assert outputs[0] != outputs[1]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(toolchain.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "file" / name))
    assert build(tmp_path / "out").sizes["text"] > 0


def test_a_flag_of_the_user_reaches_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(toolchain.FLAGS_VARIABLE, "-DMCT_H")
    with pytest.raises(ToolchainError, match="error"):
        build(tmp_path / "out")


def test_the_compilers_first_message_is_shown(tmp_path: Path) -> None:
    bad = tmp_path / "bad.c"
    bad.write_text("int a = undeclared_name;\nint b = another_name;\n")
    with pytest.raises(ToolchainError, match="undeclared_name") as caught:
        build(tmp_path / "out", sources=(*find_target("native").sources, bad))
    assert "another_name" not in caught.value.reason


def test_a_board_without_its_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"'native' lacks its source .*gone\.c"):
        build(tmp_path / "out", sources=(tmp_path / "gone.c",))


def test_a_firmware_larger_than_its_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemoryLimitError, match="'native' has 4096 in L2"):
        build(tmp_path / "out", memory=Memory("L2", 4096))


def test_a_link_that_is_not_the_plan_is_refused() -> None:
    elf = Elf((), (Symbol("mct_data", 0, 48, ".data"), Symbol("mct_arena", 64, 32, ".bss")))
    check_link(elf, 48, 32)
    with pytest.raises(ToolchainError, match="mct_arena is linked with 32 bytes, planned with 64"):
        check_link(elf, 48, 64)
    with pytest.raises(ToolchainError, match="mct_data is linked with 0"):
        check_link(Elf((), ()), 48, 32)


def test_a_missing_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_ziglang(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ziglang":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ziglang)
    with pytest.raises(ToolchainError) as caught:
        find_compiler()
    assert "pip install ziglang" in caught.value.remedy


def test_a_named_compiler_comes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(toolchain.COMPILER_VARIABLE, "no-such-compiler -O9")
    with pytest.raises(ToolchainError, match="no-such-compiler"):
        find_compiler()
    with pytest.raises(ToolchainError, match="another-one"):
        find_compiler("another-one")
    monkeypatch.delenv(toolchain.COMPILER_VARIABLE)
    assert find_compiler(f"{sys.executable} -m ziglang cc").version == find_compiler().version


def test_a_compiler_that_does_not_run_is_an_error() -> None:
    with pytest.raises(ToolchainError, match="refused"):
        find_compiler("false")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_gcc_builds_the_native_firmware_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(toolchain.COMPILER_VARIABLE, "gcc")
    assert find_compiler().family == "gcc"
    check_link(build(tmp_path / "out").elf, PLAN.data_size, PLAN.arena_size)


def test_flags_for_zig_are_translated_for_others() -> None:
    flags = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+a+c+zfinx+zhinx", "-O3")
    assert toolchain._adapt(flags, "zig") == flags
    assert toolchain._adapt(flags, "clang") == (
        "--target=riscv32-unknown-elf",
        "-march=rv32imac_zfinx_zhinx",
        "-O3",
    )
    assert toolchain._adapt(flags, "gcc") == ("-march=rv32imac_zfinx_zhinx", "-O3")


def test_what_is_no_elf_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "firmware"
    path.write_bytes(b"MZ")
    with pytest.raises(ToolchainError, match="not a little-endian ELF"):
        read_elf(path)
    path.write_bytes(b"\x7fELF\x02\x01" + b"\xff" * 100)
    with pytest.raises(ToolchainError, match="damaged"):
        read_elf(path)


def test_sections_and_symbols_agree_with_readelf(tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed (Debian: apt-get install binutils)")
    firmware = build(tmp_path / "out", "qemu")
    listed = subprocess.run(
        ["readelf", "-sW", str(firmware.path)], capture_output=True, text=True, check=True
    ).stdout
    rows = {
        f[7]: (int(f[1], 16), f[2])
        for f in map(str.split, listed.splitlines())
        if len(f) == 8 and f[0] != "Num:"
    }
    for name in ("mct_data", "mct_arena", "mct_programs", "main"):
        symbol = firmware.elf.symbol(name)
        assert symbol is not None
        assert rows[name] == (symbol.address, str(symbol.size))
