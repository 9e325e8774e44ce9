"""SHA-256 and HMAC in C against hashlib, for every length about the block size, in pieces of any size."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mcutrain.compiler.toolchain import find_compiler
from mcutrain.targets import resources

LENGTHS = [*range(130), 191, 192, 193, 255, 256, 257, 1000, 65_537]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime = resources() / "targets" / "runtime"
    output = tmp_path_factory.mktemp("sha256") / "sha256"
    include = [f"-I{runtime}", f"-I{resources() / 'kernels'}"]
    sources = [str(Path(__file__).parent / "firmware" / "sha256.c"), str(runtime / "sha256.c")]
    command = [*find_compiler().command, "-O2", "-Wall", "-Wextra", "-Werror", *include, *sources]
    subprocess.run([*command, "-o", str(output)], check=True)
    return output


def run(program: Path, text: bytes, *pieces: int) -> bytes:
    command = [str(program), *map(str, pieces)]
    return subprocess.run(command, input=text, capture_output=True, check=True).stdout


@pytest.mark.parametrize("pieces", [(1 << 20,), (1,), (63, 1, 65), (7, 64, 128, 3)])
def test_digests(program: Path, pieces: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).bytes(max(LENGTHS))
    for length in LENGTHS:
        assert run(program, b"s" + data[:length], *pieces) == hashlib.sha256(data[:length]).digest(), length


def test_hmac(program: Path) -> None:
    data = np.random.default_rng(1).bytes(max(LENGTHS) + 32)
    for length in LENGTHS:
        key, text = data[:32], data[32 : 32 + length]
        assert run(program, b"h" + key + text, 1) == hmac.digest(key, text, "sha256"), length
