"""Kernels that work on tiles in a scratch-pad: the reference's bits whatever the tiles, DMA in order.

They run on threads; a transfer takes place no earlier than it is waited for.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import kernel_harness
import numpy as np
import pytest
from convolution import Case, cancelling, shape_grid
from kernel_harness import KERNELS, arguments, check_kernel, compile_source
from squared import check_squares

from mcutrain.ops.base import KernelCall

DTYPES = ("f2", "f4")
CLUSTER = Path(__file__).parent / "cluster_threads.h"
#: Bytes of L1: what pulp-open has, and so little that tiles have a row or two, or that nothing fits.
SIZES = (47 * 1024, 6000, 3200)
GRID = [
    *[case for case in shape_grid() if case.width >= 4 and case.kernel != (1, 1)][::2],
    Case(height=13, width=12, channels=8, outputs=20),
    Case(height=13, width=12, channels=8, outputs=20, batch=2),
    Case(height=12, width=16, channels=16, outputs=12, strides=(2, 2), pads=(0, 0, 1, 1)),
    Case(height=12, width=16, channels=16, outputs=12, kernel=(1, 1), pads=(0, 0, 0, 0), strides=(2, 2)),
    Case(height=17, width=10, channels=1, outputs=8, kernel=(10, 4), strides=(2, 2), pads=(4, 1, 5, 1)),
]


class Cluster:
    """Runs tiled kernels; `transfers` counts the DMA's, `size` limits L1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = SIZES[0]
        self.transfers = 0

    def run_kernel(
        self, call: KernelCall, buffers: Mapping[str, kernel_harness._Buffer], workers: int
    ) -> None:
        library = load(self.folder, call.kernel, call.dtype)
        kernel = getattr(library, f"mct_{call.kernel}_{call.dtype}")
        ctypes.c_uint32.in_dll(library, "test_l1_size").value = self.size
        mistakes = library.test_run(kernel, ctypes.byref(arguments(call, buffers)), ctypes.c_uint32(workers))
        assert mistakes == 0, f"{call.kernel} on {workers} workers uses scratch-pad or DMA wrongly"
        self.transfers += ctypes.c_uint32.in_dll(library, "test_transfers").value


@functools.cache
def load(folder: Path, stem: str, dtype: str) -> ctypes.CDLL:
    sources = (CLUSTER, KERNELS / "tiled" / f"{stem}.c")
    text = "".join(f'#include "{path}"\n' for path in sources)
    digests = "".join(f"/* {hashlib.sha256(path.read_bytes()).hexdigest()} */\n" for path in sources)
    wrapper = folder / f"tiled_{stem}.c"
    wrapper.write_text(text + digests)
    return ctypes.CDLL(str(compile_source(wrapper, dtype)))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    made = Cluster(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(kernel_harness, "run_kernel", made.run_kernel)
    return made


def normal(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def check_convolution(
    case: Case, dtype: str, workers: tuple[int, ...], tile: tuple[int, int] = (0, 0)
) -> None:
    rng = np.random.default_rng(len(str(case)))
    inputs, outputs = case.group * case.channels, case.group * case.outputs
    x = normal(rng, case.batch, case.height, case.width, inputs, dtype=dtype)
    w = normal(rng, outputs, *case.kernel, case.channels, dtype=dtype)
    activation = ({}, {"activation": "relu"}, {"activation": "clip", "lo": -0.5, "hi": 0.75})[
        case.outputs % 3
    ]
    attrs = {**case.attrs, "tile": tile}
    (y,) = check_kernel("Conv2d", [x, w, normal(rng, outputs)], {**attrs, **activation}, workers=workers)
    check_kernel("Conv2d", [x, w, None], attrs, workers=workers[:1])
    dy = normal(rng, *y.shape, dtype=dtype)
    wt = w.reshape(case.group, case.outputs, *case.kernel, case.channels).transpose(0, 4, 2, 3, 1)
    hw = {"input_hw": (case.height, case.width)}
    check_kernel("Conv2dInputGradient", [dy, np.ascontiguousarray(wt)], {**attrs, **hw}, workers=workers)
    check_kernel(
        "Conv2dWeightGradient", [x, dy, normal(rng, *w.shape)], attrs, inplace={0: 2}, workers=workers
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID, ids=str)
def test_convolution(cluster: Cluster, case: Case, dtype: str) -> None:
    for size in SIZES:
        cluster.size = size
        check_convolution(case, dtype, (8, 3) if size == SIZES[0] else (3,))


@pytest.mark.parametrize("size", [40_000, 30_000, 24_000])
@pytest.mark.parametrize(
    "case",
    [
        Case(height=16, width=16, channels=32, outputs=32),
        Case(height=8, width=8, channels=64, outputs=64),
        Case(height=16, width=16, channels=32, outputs=64, strides=(2, 2), pads=(0, 0, 1, 1)),
    ],
    ids=str,
)
def test_the_layers_of_a_residual_network(cluster: Cluster, case: Case, size: int) -> None:
    """All three directions take the tiled way, weights and accumulators in several blocks."""
    cluster.size = size
    check_convolution(case, "f2", (8,))
    assert cluster.transfers > 100


@pytest.mark.parametrize("tile", [(1, 0), (3, 4), (0, 8), (5, 12), (100, 100)], ids=str)
@pytest.mark.parametrize("case", GRID[-5:], ids=str)
def test_the_tile_that_was_asked_for(cluster: Cluster, case: Case, tile: tuple[int, int]) -> None:
    """One row, odd, more than there is: the bits stay."""
    check_convolution(case, "f2", (3,), tile)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_order_and_pairs_of_the_reduction(cluster: Cluster, strides: tuple[int, int]) -> None:
    """Operands that cancel: the results are rounding errors, which another order would change."""
    rng = np.random.default_rng(2)
    case = Case(height=9, width=8, channels=24, outputs=24, strides=strides)
    constant = np.float16(1.234)
    x, w = np.full((1, 9, 8, 24), constant), cancelling(rng, 24, 3, 3, 24)
    (y,) = check_kernel("Conv2d", [x, w, None], case.attrs)
    assert 0 < np.abs(y).max() < 1
    (dx,) = check_kernel(
        "Conv2dInputGradient", [np.full(y.shape, constant), w[None]], {**case.attrs, "input_hw": (9, 8)}
    )
    assert 0 < np.abs(dx).max() < 1
    assert cluster.transfers > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID[::2] + GRID[-5:], ids=str)
def test_squares_of_weight_gradients(cluster: Cluster, case: Case, dtype: str) -> None:
    """Sums and tiles in one piece and in several: they are squared when they have met all of x."""
    rng = np.random.default_rng(len(str(case)))
    x = normal(rng, case.batch, case.height, case.width, case.group * case.channels, dtype=dtype)
    dy = normal(rng, case.batch, *case.output, case.group * case.outputs, dtype=dtype)
    given = [x, dy, normal(rng, case.group * case.outputs, *case.kernel, case.channels)]
    for size in SIZES:
        cluster.size = size
        for tile in ((0, 0), (3, 4)) if case in GRID[-5:] else ((0, 0),):
            attrs = {**case.attrs, "tile": tile}
            check_squares("Conv2dWeightGradient", given, attrs, workers=(8, 3) if size == SIZES[0] else (3,))


@pytest.mark.parametrize("size", [40_000, 30_000, 24_000])
def test_squares_of_a_residual_network(cluster: Cluster, size: int) -> None:
    rng = np.random.default_rng(5)
    for height, channels, outputs, stride in ((16, 32, 32, 1), (8, 64, 64, 1), (16, 32, 64, 2)):
        case = Case(height=height, width=height, channels=channels, outputs=outputs, strides=(stride, stride))
        x = normal(rng, 1, height, height, channels, dtype="f2")
        dy = normal(rng, 1, *case.output, outputs, dtype="f2")
        cluster.size = size
        acc = normal(rng, outputs, 3, 3, channels)
        check_squares("Conv2dWeightGradient", [x, dy, acc], case.attrs, workers=(8,))
    assert cluster.transfers > 100


TRANSPOSITIONS = [
    ((32, 3, 3, 16), (3, 1, 2, 0)),
    ((64, 3, 3, 64), (3, 1, 2, 0)),
    ((13, 1, 1, 22), (3, 1, 2, 0)),
    ((21, 3, 5, 19), (3, 1, 2, 0)),
    ((3, 10, 2, 3, 7), (0, 4, 2, 3, 1)),
    ((6, 100, 40), (2, 1, 0)),
    ((5, 7, 11), (1, 0, 2)),
]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f4 to f2"])
@pytest.mark.parametrize(("shape", "perm"), TRANSPOSITIONS, ids=str)
def test_transposition(cluster: Cluster, shape: tuple[int, ...], perm: tuple[int, ...], dtype: str) -> None:
    x = normal(np.random.default_rng(7), *shape, dtype=dtype[:2])
    attrs = {"perm": perm, **({"dtype": "f16"} if "to" in dtype else {})}
    for size in SIZES:
        cluster.size = size
        (y,) = check_kernel("Transpose", [x], attrs, workers=(8, 3))
        assert np.array_equal(y, x.transpose(perm).astype(dtype[-2:]))
        if size == SIZES[0]:
            assert cluster.transfers > 0 or perm[-1] != 0


@pytest.mark.parametrize("workers", [8, 3, 1])
@pytest.mark.parametrize("count", [255, 256, 1001, 40_003])
def test_importance_streams_through_l1(cluster: Cluster, count: int, workers: int) -> None:
    """Long tensors, whose counts do not depend on who counts."""
    rng = np.random.default_rng(count)
    w, acc, g = normal(rng, count), np.abs(normal(rng, count)), normal(rng, count)
    check_kernel("AddSquares", [acc, g], inplace={0: 0}, workers=(workers,))
    code = rng.integers(0, 256, count).astype(np.uint8)
    settings, counts = np.float32([1, 0.5, 1]), np.arange(8, dtype=np.int32)
    check_kernel("Dampen", [w, acc, code, settings, counts], inplace={0: 0, 1: 4}, workers=(workers,))
    assert (cluster.transfers > 0) == (count >= 256)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("lo", "hi"), [(0.0, 6.0), (-0.0, 1.0), (-0.3, 0.7), (0.25, 0.5), (-2.0, 0.0)], ids=str
)
def test_clipped_convolution(cluster: Cluster, lo: float, hi: float, dtype: str) -> None:
    """Bounds that are numbers of the element type and others; sums that round to zero from both sides."""
    rng = np.random.default_rng(1)
    x, w = normal(rng, 1, 6, 9, 8, dtype=dtype), normal(rng, 12, 3, 3, 8, dtype=dtype)
    x[:, :2] *= np.dtype(dtype).type(1e-4)
    w[:6] *= np.dtype(dtype).type(1e-3)
    attrs = {**Case().attrs, "activation": "clip", "lo": lo, "hi": hi}
    for bias in (normal(rng, 12), None):
        (y,) = check_kernel("Conv2d", [x, w, bias], attrs, workers=(8, 3))
    assert cluster.transfers > 0
    assert len(np.unique(y)) > 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Case(height=9, width=10, channels=4, outputs=8, group=3),
        Case(height=9, width=10, channels=6, outputs=10, group=2, strides=(2, 2)),
        Case(height=7, width=9, channels=3, outputs=5, group=4),
        Case(height=8, width=8, channels=16, outputs=20, group=2, dilations=(2, 2), pads=(2, 2, 2, 2)),
        Case(height=8, width=8, channels=8, outputs=4, group=4, kernel=(1, 1), pads=(0, 0, 0, 0), batch=2),
    ],
    ids=str,
)
def test_groups(cluster: Cluster, case: Case, dtype: str) -> None:
    for size in SIZES:
        cluster.size = size
        check_convolution(case, dtype, (8, 3))
    rng = np.random.default_rng(0)
    cluster.size, cluster.transfers = SIZES[0], 0
    x = normal(rng, case.batch, case.height, case.width, case.group * case.channels, dtype=dtype)
    w = normal(rng, case.group * case.outputs, *case.kernel, case.channels, dtype=dtype)
    check_kernel("Conv2d", [x, w, None], case.attrs, workers=(8,))
    assert cluster.transfers > 0
