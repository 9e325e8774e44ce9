"""PULP's kernels over the shape grids, on qemu-xpulp and GVSoC, bit for bit and between guards.

The tests of the native kernels are run again, as they are, with calls that go to the simulated target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kernel_harness
import numpy as np
import pytest
import test_conv_kernels as convolution
import test_dense_kernels as dense
import test_dense_update as descent
from convolution import Case
from kernel_harness import check_kernel
from remote_kernels import TARGETS, Remote
from test_tiled_kernels import TRANSPOSITIONS, normal

from mcutrain.targets import find_target


@pytest.fixture(scope="module", params=TARGETS)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    remote = Remote(find_target(request.param), tmp_path_factory.mktemp("kernels"))
    yield remote
    remote.close()


@pytest.fixture(autouse=True)
def everything_runs_there(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """check_kernel of the borrowed tests, with two numbers of workers."""
    original = kernel_harness.check_kernel

    def check(*args: Any, **options: Any) -> Any:
        return original(*args, **{**options, "workers": (8, 3)})

    monkeypatch.setattr(kernel_harness, "run_kernel", remote.run)
    monkeypatch.setattr(dense, "check_kernel", check)
    monkeypatch.setattr(descent, "check_kernel", check)
    monkeypatch.setattr(convolution, "check_kernel", check)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8])
def test_dense_remainders(rows: int) -> None:
    dense.test_every_remainder(rows, "f2")


@pytest.mark.parametrize(("rows", "columns"), [(17, 16), (25, 144), (1, 144), (64, 33)])
def test_dense_sizes(rows: int, columns: int) -> None:
    dense.test_sizes_that_broke_other_libraries(rows, columns, "f2")


@pytest.mark.parametrize(
    ("rows", "columns", "depth"), [(4, 8, 64), (64, 64, 66), (13, 20, 2), (9, 41, 128), (37, 24, 34)]
)
@pytest.mark.parametrize("activation", ["none", "relu", "clip"])
def test_dense_even_depth(rows: int, columns: int, depth: int, activation: str) -> None:
    """The inner loops over whole blocks, with and without a bias, and with sums that cancel."""
    rng = np.random.default_rng(depth)
    attrs = {"activation": activation, "lo": -1.0, "hi": 2.0}
    x, w = (rng.normal(size=(n, depth)).astype(np.float16) for n in (rows, columns))
    for bias in (None, rng.normal(size=columns).astype(np.float32)):
        dense.check_kernel("Dense", [x, w, bias], attrs)
    extreme = np.where(rng.random(x.shape) < 0.1, np.float16(60000), x).astype(np.float16)
    dense.check_kernel("Dense", [extreme, w, None], attrs, allow_nan=True)


@pytest.mark.parametrize("tile", [(0, 0), (64, 8)], ids=str)
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(125, 64, 64), (4, 2, 4), (33, 6, 12), (9, 130, 20), (1, 12, 64), (3, 38, 36), (2, 640, 128)],
)
def test_input_gradient_of_dense(rows: int, depth: int, columns: int, tile: tuple[int, int]) -> None:
    """In whole blocks and beside them, also where the sums cancel."""
    rng = np.random.default_rng(depth)
    w = rng.normal(size=(depth, columns)).astype("f2")
    dense.check_kernel("DenseInputGradient", [rng.normal(size=(rows, depth)).astype("f2"), w], {"tile": tile})
    w = np.ascontiguousarray(convolution.cancelling(rng, columns, depth).T) if depth > 30 else w
    constant = np.full((rows, depth), np.float16(1.234))
    dense.check_kernel("DenseInputGradient", [constant, w], {"tile": tile})


def test_input_gradient_of_dense_on_any_shape() -> None:
    for rows in (1, 5):
        dense.test_every_input_gradient(rows, "f2")


@pytest.mark.parametrize(("columns", "depth"), [*descent.SHAPES, (128, 128), (36, 640), (8, 132)])
def test_dense_on_masters(columns: int, depth: int) -> None:
    """Rows of w rounded as they are read, and one walk for gradient and update."""
    descent.test_forward_is_dense_on_rounded_weights(columns, depth)
    for dx in (False, True):
        descent.test_update(columns, depth, dx, "f2")


@pytest.mark.parametrize("where", ["x", "dy", "before"])
def test_dense_update_after_an_overflow(where: str) -> None:
    descent.test_nothing_is_updated_after_an_overflow(where, np.inf)


@pytest.mark.parametrize("count", [1, 7, 640, 5000])
def test_mean_squared_error(count: int) -> None:
    rng = np.random.default_rng(count)
    x, target = rng.normal(size=(1, count)).astype("f2"), rng.normal(size=(1, count)).astype("f4")
    kernel_harness.check_kernel("MeanSquaredError", [x, target, np.float32([8])], workers=(8, 3))
    kernel_harness.check_kernel("MeanSquaredErrorLoss", [x, target], workers=(8, 3))


#: Pairs of channels for each worker, the same or not; too few of them, so that rows are shared; too many.
RELU_SHAPES = [
    *[(9, 16), (125, 64), (300, 18), (131, 128), (64, 33)],
    *[(8, 2), (31, 24), (40, 36), (1000, 16), (21, 512), (12, 1030)],
]


@pytest.mark.parametrize(("rows", "channels"), RELU_SHAPES)
def test_relu_and_bias_gradient(rows: int, channels: int) -> None:
    rng = np.random.default_rng(rows)
    dy, y = rng.normal(size=(rows, channels)).astype("f2"), rng.normal(size=(rows, channels)).astype("f2")
    given = [dy, np.maximum(y, 0), rng.normal(size=channels).astype("f4")]
    kernel_harness.check_kernel(
        "ReluBiasGradient", given, {"activation": "relu"}, inplace={1: 2}, workers=(8, 3)
    )


def test_dense_batched() -> None:
    dense.test_batched("f2")


@pytest.mark.parametrize("case", convolution.GRID[::3], ids=str)
def test_convolution(case: Case) -> None:
    convolution.test_convolution(case, "f2")


#: Few channels: windows are put together in L1. The last ones have more pixels than a tile.
FIRST_LAYERS = [
    Case(height=49, width=10, channels=1, outputs=64, kernel=(10, 4), strides=(2, 2), pads=(4, 1, 5, 1)),
    Case(height=9, width=7, channels=3, outputs=13),
    Case(height=9, width=8, channels=3, outputs=12, pads=(0, 2, 1, 0), strides=(2, 1)),
    Case(height=11, width=5, channels=5, outputs=8, dilations=(2, 1), pads=(2, 1, 2, 1)),
    Case(height=6, width=6, channels=2, outputs=4, kernel=(2, 1), pads=(0, 0, 0, 0)),
    Case(height=6, width=6, channels=1, outputs=4, kernel=(1, 1), pads=(1, 1, 0, 0), strides=(5, 5)),
    Case(height=3, width=3, channels=1, outputs=5, kernel=(5, 5), pads=(3, 3, 3, 3)),
    Case(height=20, width=20, channels=3, outputs=16),
    Case(height=16, width=15, channels=1, outputs=36, kernel=(7, 7), pads=(3, 3, 3, 3)),
]


@pytest.mark.parametrize("case", FIRST_LAYERS, ids=str)
def test_first_layer(case: Case) -> None:
    convolution.test_convolution(case, "f2")


@pytest.mark.parametrize("case", [case for case in convolution.GRID if case.width >= 4][::14], ids=str)
def test_convolution_in_binary32(case: Case) -> None:
    convolution.test_convolution(case, "f4")


@pytest.mark.parametrize("case", convolution.GRID[::5], ids=str)
def test_depthwise(case: Case) -> None:
    if case.kernel != (1, 1):
        convolution.test_depthwise(case, "f2")


#: Channels in parts, rows walked down in twos and a last one, steps of one and two, taps apart.
DEPTHWISE = [
    Case(height=11, width=5, channels=32, outputs=1),
    Case(height=7, width=6, channels=32, outputs=1),
    Case(height=1, width=3, channels=48, outputs=1),
    Case(height=2, width=1, channels=16, outputs=1, batch=2),
    Case(height=8, width=9, channels=32, outputs=1, strides=(1, 2)),
    Case(height=9, width=7, channels=32, outputs=1, strides=(2, 1), pads=(0, 1, 1, 0)),
    Case(height=9, width=8, channels=20, outputs=1, dilations=(2, 1), pads=(2, 0, 2, 3)),
    Case(height=9, width=8, channels=12, outputs=1, dilations=(1, 2), pads=(2, 2, 0, 1)),
    Case(height=4, width=4, channels=64, outputs=1, batch=2),
]


@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
@pytest.mark.parametrize("tile", [(0, 0), (2, 16), (1, 1024)], ids=str)
def test_depthwise_tiles(case: Case, tile: tuple[int, int]) -> None:
    """Every direction, with every way to end, in the kernel's tiles and in others."""
    rng = np.random.default_rng(case.height)
    attrs: dict[str, Any] = {k: v for k, v in case.attrs.items() if k != "group"} | {"tile": tile}
    x = normal(rng, case.batch, case.height, case.width, case.channels, dtype="f2")
    w = normal(rng, *case.kernel, case.channels, dtype="f2")
    bias = normal(rng, case.channels)
    for activation in ("none", "relu"):
        for b in (None, bias):
            (y,) = check_kernel(
                "DepthwiseConv2d", [x, w, b], {**attrs, "activation": activation}, workers=(8,)
            )
    dy = normal(rng, *y.shape, dtype="f2")
    hw = {"input_hw": (case.height, case.width)}
    check_kernel("DepthwiseConv2dInputGradient", [dy, w], {**attrs, **hw})
    check_kernel("DepthwiseConv2dWeightGradient", [x, dy, normal(rng, *w.shape)], attrs, inplace={0: 2})


def test_weight_gradient_across_chunks() -> None:
    convolution.test_weight_gradient_across_chunks("f2")


@pytest.mark.parametrize("outputs", [24, 25])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_order_and_pairs(strides: tuple[int, int], outputs: int) -> None:
    convolution.test_order_and_pairs_of_the_reduction(strides, outputs)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize(("shape", "perm"), TRANSPOSITIONS, ids=str)
def test_transposition(shape: tuple[int, ...], perm: tuple[int, ...], dtype: str) -> None:
    x = normal(np.random.default_rng(7), *shape, dtype=dtype)
    check_kernel("Transpose", [x], {"perm": perm, "dtype": "f16"}, workers=(8, 3))


@pytest.mark.parametrize("count", [256, 1000, 20001])
def test_elements_that_stream(count: int) -> None:
    """Every kind of binary16: the packed operations round as binary32 and then binary16 do."""
    rng = np.random.default_rng(count)
    a, b = (rng.integers(0, 1 << 16, count).astype(np.uint16).view(np.float16) for _ in range(2))
    small = np.ldexp(rng.normal(size=count), rng.integers(-14, 2, count)).astype(np.float16)
    with np.errstate(all="ignore"):
        for op in ("Add", "Sub", "Mul"):
            check_kernel(op, [a, b], workers=(8, 3), allow_nan=True)
            check_kernel(op, [small, small[::-1].copy()], workers=(8,))
    finite = np.where(np.isnan(a), np.float16(-0.0), a)
    check_kernel("Relu", [finite], workers=(8, 3))


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_updates_that_stream(decay: float) -> None:
    rng = np.random.default_rng(3)
    w, g = (rng.normal(size=3001).astype(np.float32) for _ in range(2))
    w[:4] = g[:4] = [0.0, -0.0, 1e-40, -1e-40]
    hyper = np.float32([0.01, 0.9, decay, 0.5])
    scale, flag = np.float32([1024]), np.int32([0])
    check_kernel("Sgd", [w, g, None, hyper, scale, flag], inplace={0: 0, 1: 1}, workers=(8, 3))
    v = rng.normal(size=3001).astype(np.float32)
    check_kernel("Sgd", [w, g, v, hyper, scale, flag], inplace={0: 0, 1: 2, 2: 1}, workers=(8,))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_search_for_infinities(bad: float) -> None:
    x, no = np.random.default_rng(4).normal(size=4001).astype(np.float32), np.int32([0])
    x[:3] = [3.4e38, -3.4e38, -0.0]
    assert check_kernel("FiniteCheck", [x, no], inplace={0: 1}, workers=(8, 3))[0] == 0
    for at in (0, 7, 2047, 4000):
        broken = x.copy()
        broken[at] = bad
        assert check_kernel("FiniteCheck", [broken, no], inplace={0: 1}, workers=(8,))[0] == 1


@pytest.mark.parametrize(("columns", "depth"), [(12, 64), (10, 64), (1, 2), (9, 7), (640, 8), (3, 3000)])
def test_weight_gradient_of_one_row(columns: int, depth: int) -> None:
    rng = np.random.default_rng(columns)
    x, dy, acc = (
        normal(rng, 1, depth, dtype="f2"),
        normal(rng, 1, columns, dtype="f2"),
        normal(rng, columns, depth),
    )
    check_kernel("DenseWeightGradient", [x, dy, acc], inplace={0: 2}, workers=(8, 3))
    x[0, 0], dy[0, 0], acc[0, 0] = np.inf, -0.0, -0.0
    check_kernel("DenseWeightGradient", [x, dy, acc], inplace={0: 2}, workers=(8,), allow_nan=True)


@pytest.mark.parametrize(
    "shape",
    [(25, 5, 64), (8, 8, 64), (1, 1, 2), (3, 3, 18), (5, 5, 130), (7, 3, 520), (2, 2, 1030), (2, 3, 5)],
)
def test_mean_over_an_image(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(shape[2])
    height, width, _ = shape
    attrs = {
        "kernel": (height, width),
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "count_include_pad": 0,
    }
    (y,) = check_kernel("AveragePool2d", [normal(rng, 1, *shape, dtype="f2")], attrs, workers=(8, 3))
    dy = normal(rng, *y.shape, dtype="f2")
    check_kernel("AveragePool2dGradient", [dy], {**attrs, "input_hw": (height, width)}, workers=(8, 3))


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 12), (1, 10), (1, 100), (2, 5)])
def test_cross_entropy(rows: int, classes: int, dtype: str) -> None:
    rng = np.random.default_rng(classes)
    x = (3 * rng.normal(size=(rows, classes))).astype(dtype)
    for label in {0, classes // 2, classes - 1}:
        given = [x, np.full(rows, label, np.int32), np.float32([256])]
        check_kernel("CrossEntropy", given, workers=(8, 3))
        check_kernel("CrossEntropyLoss", given[:2], workers=(8,))
    for label in (-1, classes):
        check_kernel("CrossEntropy", [x, np.full(rows, label, np.int32), np.float32([256])], workers=(8,))
