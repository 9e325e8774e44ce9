"""The kernel tests once more, compiled by GCC with its address and undefined-behaviour sanitizers.

Reads past the end of a buffer that change no result show only here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _runtime(name: str) -> str:
    """Path of one of GCC's libraries, or the empty string."""
    if shutil.which("gcc") is None:
        return ""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    return path if os.path.isabs(path) else ""


@pytest.mark.parametrize(
    "selection",
    [
        "test_order or test_sizes or test_weight_gradient or test_infinities or group or dilations",
        pytest.param("not gradients", marks=pytest.mark.slow),
    ],
)
def test_no_access_outside_and_no_undefined_behaviour(selection: str) -> None:
    asan, cpp = _runtime("libasan.so"), _runtime("libstdc++.so")
    if not asan:
        pytest.skip("GCC with libasan is not installed (Debian: apt-get install gcc)")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "MCUTRAIN_KERNEL_CC": "gcc -march=native -g -fsanitize=address,undefined -fno-sanitize-recover=all "
        "-Wno-unknown-pragmas",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "LD_PRELOAD": f"{asan} {cpp}".strip(),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-x",
        "-p",
        "no:cacheprovider",
        str(HERE),
        f"--ignore={__file__}",
        "-m",
        "not qemu and not gvsoc and not slow",  # what runs on this computer
        "-k",
        selection,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
