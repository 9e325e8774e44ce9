"""Pooling: every window geometry, first index wins, counts, gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from kernel_harness import check_kernel
from numeric_gradient import assert_close, check_gradient

from mcutrain.errors import GraphError
from mcutrain.ir import Node, Tensor
from mcutrain.ops import op_for

DTYPES = [np.float16, np.float32]


def attributes(
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, ...] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    **more: Any,
) -> dict[str, Any]:
    return {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, **more}


#: height, width, attributes
GEOMETRIES = [
    (4, 4, attributes((2, 2), (2, 2))),
    (5, 7, attributes((2, 2), (2, 2))),
    (7, 5, attributes((3, 3), (2, 2), (1, 1, 1, 1))),
    (6, 6, attributes((3, 3), (2, 2), (0, 0, 1, 1))),
    (5, 6, attributes((3, 2), (1, 1), (1, 0, 2, 1))),
    (7, 8, attributes((3, 3), (1, 1), (1, 1, 1, 1))),
    (9, 8, attributes((2, 3), (3, 2), (1, 2, 0, 1))),
    (9, 11, attributes((3, 2), (1, 2), (2, 1, 2, 1), (2, 3))),
    (8, 9, attributes((2, 2), (3, 3), (0, 0, 0, 0), (3, 2))),
    (1, 1, attributes((1, 1))),
    (25, 5, attributes((25, 5))),
    # ceil_mode: the last windows reach beyond the input and its padding
    (6, 5, attributes((3, 3), (2, 2), (0, 0, 0, 0), out_hw=(3, 2))),
    (5, 5, attributes((2, 2), (2, 2), (1, 1, 0, 0), out_hw=(3, 3))),
    (4, 4, attributes((3, 3), (3, 3), (1, 1, 1, 1), out_hw=(2, 2))),
]


def image(height: int, width: int, channels: int, dtype: type, batch: int = 2, levels: int = 0) -> np.ndarray:
    """Normal values, or whole numbers of few ``levels`` so that windows tie."""
    rng = np.random.default_rng(height * 100 + width * 10 + channels)
    shape = (batch, height, width, channels)
    return (rng.integers(0, levels, shape) if levels else rng.standard_normal(shape)).astype(dtype)


def windows(x: np.ndarray, attrs: dict[str, Any], out: tuple[int, ...]) -> Any:
    """Every window as (index of the result, [inputs inside it in tap order], taps in the padded input)."""
    (kh, kw), (sh, sw), (dh, dw) = attrs["kernel"], attrs["strides"], attrs["dilations"]
    top, left, bottom, right = attrs["pads"]
    height, width = x.shape[1:3]
    for row, column in np.ndindex(*out):
        taps = [
            (row * sh + i * dh - top, column * sw + j * dw - left)
            for i, j in itertools.product(range(kh), range(kw))
        ]
        inside = [(r, c) for r, c in taps if 0 <= r < height and 0 <= c < width]
        padded = sum(-top <= r < height + bottom and -left <= c < width + right for r, c in taps)
        yield (row, column), inside, padded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize(("height", "width", "attrs"), GEOMETRIES)
def test_max_pool_and_gradient(
    height: int, width: int, attrs: dict[str, Any], levels: int, dtype: type
) -> None:
    for channels in (1, 3, 32, 33):
        x = image(height, width, channels, dtype, levels=levels)
        (y,) = check_kernel("MaxPool2d", [x], attrs)
        dy = image(*y.shape[1:], dtype)
        (dx,) = check_kernel("MaxPool2dGradient", [x, dy], attrs)
        want = np.zeros(x.shape, np.float32)
        for (row, column), inside, _ in windows(x, attrs, y.shape[1:3]):
            taps = np.stack([x[:, r, c] for r, c in inside])
            assert np.array_equal(y[:, row, column], taps.max(axis=0))
            for n, channel in np.ndindex(x.shape[0], channels):
                r, c = inside[int(taps[:, n, channel].argmax())]
                want[n, r, c, channel] += dy[n, row, column, channel]
        assert np.array_equal(dx, want.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("height", "width", "attrs"), GEOMETRIES)
def test_average_pool_and_gradient(
    height: int, width: int, attrs: dict[str, Any], include: int, dtype: type
) -> None:
    attrs = {**attrs, "count_include_pad": include}
    tolerance = 1e-3 if dtype is np.float16 else 1e-6
    for channels in (1, 3, 32, 33):
        x = image(height, width, channels, dtype)
        (y,) = check_kernel("AveragePool2d", [x], attrs)
        dy = image(*y.shape[1:], dtype)
        (dx,) = check_kernel("AveragePool2dGradient", [dy], {**attrs, "input_hw": (height, width)})
        want_y, want_dx = np.zeros(y.shape), np.zeros(x.shape)
        for (row, column), inside, padded in windows(x, attrs, y.shape[1:3]):
            count = max(1, padded if include else len(inside))
            for r, c in inside:
                want_y[:, row, column] += x[:, r, c].astype(np.float64) / count
                want_dx[:, r, c] += dy[:, row, column].astype(np.float64) / count
        assert_close(y, want_y, tolerance)
        assert_close(dx, want_dx, tolerance)


@pytest.mark.parametrize(("height", "width", "attrs"), [g for g in GEOMETRIES if g[0] * g[1] <= 56])
def test_gradients_against_differences(height: int, width: int, attrs: dict[str, Any]) -> None:
    # distinct values, further apart than the step of the differences
    x = (
        np.random.default_rng(0)
        .permutation(height * width * 2)
        .reshape(1, height, width, 2)
        .astype(np.float32)
    )

    def pooled(values: np.ndarray, average: bool, include: int) -> np.ndarray:
        (shape, _), *_ = op_for("MaxPool2d").infer(
            Node("MaxPool2d", ("x",), ("y",), attrs), [Tensor("x", x.shape, "f32")]
        )
        y = np.zeros(shape)
        for (row, column), inside, padded in windows(values, attrs, shape[1:3]):
            taps = np.stack([values[:, r, c] for r, c in inside])
            count = padded if include else len(inside)
            y[:, row, column] = taps.sum(axis=0) / count if average else taps.max(axis=0)
        return y

    check_gradient("MaxPool2d", [x], lambda v: pooled(v, False, 0), attrs)
    for include in (0, 1):
        check_gradient(
            "AveragePool2d",
            [x],
            lambda v, i=include: pooled(v, True, i),
            {**attrs, "count_include_pad": include},
        )


@pytest.mark.parametrize(("op", "include"), [("MaxPool", 0), ("AveragePool", 0), ("AveragePool", 1)])
@pytest.mark.parametrize("ceil", [0, 1])
def test_values_equal_onnx_runtime(op: str, include: int, ceil: int) -> None:
    for height, width, attrs in GEOMETRIES:
        if "out_hw" in attrs or (op == "AveragePool" and attrs["dilations"] != (1, 1)):
            continue
        onnx_attrs = {
            "kernel_shape": attrs["kernel"],
            **{k: attrs[k] for k in ("strides", "pads", "dilations")},
        }
        onnx_attrs |= {"ceil_mode": ceil} | ({"count_include_pad": include} if op == "AveragePool" else {})
        node = onnx.helper.make_node(op, ["x"], ["y"], **onnx_attrs)
        x = image(height, width, 3, np.float32)
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [node],
            "pool",
            [value("x", onnx.TensorProto.FLOAT, (2, 3, height, width))],
            [value("y", onnx.TensorProto.FLOAT, None)],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (want,) = session.run(None, {"x": x.transpose(0, 3, 1, 2)})
        want = want.transpose(0, 2, 3, 1)
        ours = {**attrs, "count_include_pad": include, "out_hw": want.shape[1:3]}
        (y,) = check_kernel(f"{op}2d", [x], ours, workers=(1,))
        assert_close(y, want, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_wins_and_takes_the_gradient(dtype: type) -> None:
    x = np.array([1, np.nan, 3, np.nan], dtype).reshape(1, 2, 2, 1)
    (y,) = check_kernel("MaxPool2d", [x], attributes((2, 2)), allow_nan=True)
    assert np.isnan(y).all()
    (dx,) = check_kernel("MaxPool2dGradient", [x, np.ones((1, 1, 1, 1), dtype)], attributes((2, 2)))
    assert dx.ravel().tolist() == [0, 1, 0, 0]


def test_padding_is_never_the_largest() -> None:
    x = np.full((1, 2, 2, 1), -7, np.float16)
    (y,) = check_kernel("MaxPool2d", [x], attributes((3, 3), pads=(1, 1, 1, 1)))
    assert (y == -7).all()
    x[:] = -np.inf
    (dx,) = check_kernel("MaxPool2dGradient", [x, np.ones_like(x)], attributes((3, 3), pads=(1, 1, 1, 1)))
    assert dx.ravel().tolist() == [4, 0, 0, 0]


def test_overlapping_windows_round_once() -> None:
    # 2048 + 1 + 1 is 2050 in one rounding and 2048 in two
    x = np.zeros((1, 1, 5, 1), np.float16)
    x[0, 0, 2] = 1
    dy = np.float16([2048, 1, 1]).reshape(1, 1, 3, 1)
    (dx,) = check_kernel("MaxPool2dGradient", [x, dy], attributes((1, 3)))
    assert dx.ravel().tolist() == [0, 0, 2050, 0, 0]


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        (attributes((5, 5)), "larger than the input"),
        (attributes((2, 2), (0, 1)), "not a 2-D window"),
        (attributes((2, 2), pads=(-1, 0, 0, 0)), "negative padding"),
    ],
)
def test_impossible_windows_are_refused(attrs: dict[str, Any], message: str) -> None:
    node = Node("MaxPool2d", ("x",), ("y",), attrs, "pool1")
    with pytest.raises(GraphError, match=f"pool1.*{message}"):
        op_for("MaxPool2d").infer(node, [Tensor("x", (1, 4, 4, 1), "f32")])
