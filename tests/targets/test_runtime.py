"""The runtime's C functions, called one by one: COBS, CRC-32, memory functions."""

from __future__ import annotations

import ctypes
import subprocess
import zlib

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from mcutrain.compiler.toolchain import find_compiler
from mcutrain.targets import resources

#: Bytes with runs of zeros and runs without, about the lengths where COBS changes.
data = st.one_of(
    st.binary(max_size=700),
    st.lists(st.tuples(st.integers(250, 258), st.integers(0, 3)), max_size=4).map(
        lambda runs: b"".join(b"\x05" * length + bytes(zeros) for length, zeros in runs)
    ),
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The files as a shared library; the memory functions are renamed to leave the C library's alone."""
    folder = resources() / "targets" / "runtime"
    output = tmp_path_factory.mktemp("runtime") / "runtime.so"
    rename = [f"-D{name}=mct_{name}" for name in ("memcpy", "memmove", "memset", "memcmp")]
    subprocess.run(
        [
            *find_compiler().command,
            *("-std=gnu11", "-O2", "-shared", "-fPIC", "-fno-builtin", "-DMCT_FREESTANDING", *rename),
            *(str(folder / name) for name in ("cobs.c", "crc32.c", "string.c")),
            *("-o", str(output)),
        ],
        check=True,
    )
    library = ctypes.CDLL(str(output))
    for name in ("mct_crc32", "mct_cobs_encode", "mct_cobs_decode"):
        getattr(library, name).restype = ctypes.c_uint32
    for name in ("mct_memcpy", "mct_memmove", "mct_memset"):
        getattr(library, name).restype = ctypes.c_void_p
    library.mct_crc32_start()
    return library


@given(data=data, cut=st.integers(0, 700))
def test_crc(runtime: ctypes.CDLL, data: bytes, cut: int) -> None:
    first = runtime.mct_crc32(0, data[:cut], len(data[:cut]))
    assert runtime.mct_crc32(first, data[cut:], len(data[cut:])) == zlib.crc32(data)


@given(data=data)
def test_cobs_round_trip_in_place(runtime: ctypes.CDLL, data: bytes) -> None:
    overhead = len(data) // 254 + 1
    buffer = ctypes.create_string_buffer(bytes(overhead) + data, overhead + len(data) or 1)
    length = runtime.mct_cobs_encode(buffer, ctypes.byref(buffer, overhead), len(data))
    assert length <= len(data) + overhead
    encoded = buffer.raw[:length]
    assert encoded == cobs.encode(data)
    assert runtime.mct_cobs_decode(buffer, length) == len(data)
    assert buffer.raw[: len(data)] == data


@given(data=st.binary(max_size=300))
def test_cobs_of_any_bytes(runtime: ctypes.CDLL, data: bytes) -> None:
    try:
        expected = cobs.decode(data)
    except cobs.DecodeError:
        expected = None
    buffer = ctypes.create_string_buffer(data + b"guard")
    length = runtime.mct_cobs_decode(buffer, len(data))
    if expected is None:
        assert length == 0xFFFFFFFF
    else:
        assert buffer.raw[:length] == expected
    assert buffer.raw[len(data) : len(data) + 5] == b"guard"


@given(
    before=st.integers(0, 9), gap=st.integers(-40, 40), count=st.integers(0, 70), value=st.integers(-300, 300)
)
def test_memory_functions(runtime: ctypes.CDLL, before: int, gap: int, count: int, value: int) -> None:
    start = bytes(range(1, 251))
    source, target = 50 + before, 50 + before + gap

    moved = ctypes.create_string_buffer(start)
    runtime.mct_memmove(ctypes.byref(moved, target), ctypes.byref(moved, source), count)
    expected = bytearray(start)
    expected[target : target + count] = start[source : source + count]
    assert moved.raw[:-1] == expected

    copied = ctypes.create_string_buffer(bytes(250))
    runtime.mct_memcpy(ctypes.byref(copied, target), start[before:], count)
    assert copied.raw[target : target + count] == start[before : before + count]
    assert sum(map(bool, copied.raw)) == count

    filled = ctypes.create_string_buffer(start)
    runtime.mct_memset(ctypes.byref(filled, target), value, count)
    expected = bytearray(start)
    expected[target : target + count] = bytes([value & 0xFF]) * count
    assert filled.raw[:-1] == expected

    sign = runtime.mct_memcmp(filled, bytes(start), len(start))
    assert (sign > 0) - (sign < 0) == (bytes(expected) > start) - (bytes(expected) < start)
