"""Squares of gradients by PULP's kernels, on qemu-xpulp and GVSoC: reductions in one tile and in several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kernel_harness
import numpy as np
import pytest
from convolution import Case, shape_grid
from squared import bias, check_squares, dense, relu_bias
from test_squares import LONG, RELU, convolution, depthwise
from test_xpulp_kernels import DEPTHWISE, FIRST_LAYERS, RELU_SHAPES, TARGETS, Remote

from mcutrain.targets import find_target

WORKERS = (8, 3)
#: Bytes of L1 that calls may use: all, and less, so that there are more tiles.
ROOMS = (0, 20_000, 9000)


@pytest.fixture(scope="module", params=TARGETS)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    remote = Remote(find_target(request.param), tmp_path_factory.mktemp("squares"))
    yield remote
    remote.close()


@pytest.fixture(autouse=True)
def everything_runs_there(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_harness, "run_kernel", remote.run)
    remote.l1 = 0


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("case", [*[c for c in shape_grid() if c.width >= 4][::14], *LONG], ids=str)
def test_convolution(case: Case, dtype: str) -> None:
    check_squares("Conv2dWeightGradient", convolution(case, dtype), case.attrs, workers=WORKERS)


#: Layers whose sums, or x and dy, are in L1 in parts; groups and odd widths, which have a way of their own.
LAYERS = [
    Case(height=16, width=16, channels=32, outputs=32),
    Case(height=8, width=8, channels=64, outputs=64),
    Case(height=16, width=16, channels=16, outputs=32, strides=(2, 2), pads=(0, 0, 1, 1)),
    Case(height=16, width=16, channels=16, outputs=32, kernel=(1, 1), pads=(0, 0, 0, 0), strides=(2, 2)),
    Case(height=13, width=12, channels=8, outputs=20, batch=2),
    Case(height=13, width=12, channels=6, outputs=10),
    Case(height=9, width=7, channels=32, outputs=20),
    Case(height=7, width=9, channels=12, outputs=19, group=2),
    Case(height=25, width=5, channels=64, outputs=64, kernel=(1, 1), pads=(0, 0, 0, 0)),
    Case(height=24, width=24, channels=8, outputs=16, kernel=(1, 1), pads=(0, 0, 0, 0)),
]


@pytest.mark.parametrize("case", [*LAYERS, *FIRST_LAYERS], ids=str)
def test_layers(remote: Remote, case: Case) -> None:
    given = convolution(case, "f2")
    for remote.l1 in ROOMS:
        check_squares("Conv2dWeightGradient", given, case.attrs, workers=WORKERS)


@pytest.mark.parametrize("tile", [(1, 0), (3, 4), (0, 8), (100, 100)], ids=str)
@pytest.mark.parametrize("case", [*LAYERS[4:6], FIRST_LAYERS[0], FIRST_LAYERS[-2]], ids=str)
def test_layers_in_tiles(case: Case, tile: tuple[int, int]) -> None:
    attrs = {**case.attrs, "tile": tile}
    check_squares("Conv2dWeightGradient", convolution(case, "f2"), attrs, workers=(8,))


@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
@pytest.mark.parametrize("tile", [(0, 0), (2, 16), (1, 1024)], ids=str)
def test_depthwise(case: Case, tile: tuple[int, int]) -> None:
    attrs: dict[str, Any] = {k: v for k, v in case.attrs.items() if k != "group"} | {"tile": tile}
    check_squares("DepthwiseConv2dWeightGradient", depthwise(case, "f2"), attrs, workers=WORKERS)


@pytest.mark.parametrize("tile", [(0, 0), (16, 0)], ids=str)
@pytest.mark.parametrize(
    ("rows", "columns", "depth"),
    [
        (125, 64, 64),
        (1, 128, 640),
        (1, 10, 64),
        (13, 16, 24),
        (40, 4, 8),
        (77, 12, 132),
        (5, 7, 9),
        (9, 8, 4),
    ],
)
def test_dense(remote: Remote, rows: int, columns: int, depth: int, tile: tuple[int, int]) -> None:
    given = dense(rows, columns, depth)
    for remote.l1 in ROOMS:
        check_squares("DenseWeightGradient", given, {"tile": tile}, workers=WORKERS)


def test_batches_of_dense() -> None:
    check_squares("DenseWeightGradient", dense(9, 8, 12, batch=(3,)), workers=WORKERS)


@pytest.mark.parametrize(("rows", "channels"), [*RELU_SHAPES, (3, 7), (8, 1000)])
def test_biases(rows: int, channels: int) -> None:
    check_squares("BiasGradient", bias(rows, channels), workers=WORKERS)
    check_squares("ReluBiasGradient", relu_bias(rows, channels), RELU, workers=WORKERS)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite(bad: float) -> None:
    """In both operands; what is computed in vain beside it makes nothing else so."""
    for op, given, attrs in (
        ("Conv2dWeightGradient", convolution(LAYERS[4], "f2"), LAYERS[4].attrs),
        ("Conv2dWeightGradient", convolution(FIRST_LAYERS[0], "f2"), FIRST_LAYERS[0].attrs),
        ("DenseWeightGradient", dense(1, 12, 64), {}),
        ("DenseWeightGradient", dense(40, 12, 64), {}),
        ("BiasGradient", bias(40, 12), {}),
        ("ReluBiasGradient", relu_bias(40, 12), RELU),
    ):
        for i in (0, len(given) - 1):
            broken = [value.copy() for value in given]
            broken[i].reshape(-1)[5] = bad
            check_squares(op, broken, attrs, workers=(8,), allow_nan=True)
