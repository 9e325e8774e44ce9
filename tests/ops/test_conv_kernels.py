"""Convolution, plain and depthwise: kernels equal the reference in every bit, and that is near float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from convolution import Case, backward, cancelling, forward, shape_grid
from kernel_harness import check_kernel
from numeric_gradient import check_gradient

DTYPES = ("f4", "f2")
GRID = shape_grid()
ACTIVATIONS = ({}, {"activation": "relu"}, {"activation": "clip", "lo": -0.5, "hi": 0.75})


def normal(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def assert_close(got: np.ndarray, want: np.ndarray, dtype: str) -> None:
    """Within a few roundings of the element type, relative to the largest element."""
    tolerance = (2e-3 if dtype == "f2" else 2e-6) * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def transposed(case: Case, w: np.ndarray) -> np.ndarray:
    split = w.reshape(case.group, case.outputs, *case.kernel, case.channels)
    return np.ascontiguousarray(split.transpose(0, 4, 2, 3, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID, ids=str)
def test_convolution(case: Case, dtype: str) -> None:
    rng = np.random.default_rng(len(str(case)))
    outputs = case.group * case.outputs
    x = normal(rng, case.batch, case.height, case.width, case.group * case.channels, dtype=dtype)
    w = normal(rng, outputs, *case.kernel, case.channels, dtype=dtype)
    (y,) = check_kernel("Conv2d", [x, w, None], case.attrs)
    assert_close(y, forward(case, x, w), dtype)
    check_kernel("Conv2d", [x, w, normal(rng, outputs)], {**case.attrs, **ACTIVATIONS[case.height % 3]})

    dy = normal(rng, *y.shape, dtype=dtype)
    want_dx, want_dw = backward(case, x, w, dy)
    hw = {"input_hw": (case.height, case.width)}
    (dx,) = check_kernel("Conv2dInputGradient", [dy, transposed(case, w)], {**case.attrs, **hw})
    assert_close(dx, want_dx, dtype)
    start = normal(rng, *w.shape)
    (dw,) = check_kernel("Conv2dWeightGradient", [x, dy, start], case.attrs, inplace={0: 2})
    assert_close(dw, start + want_dw, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in GRID if c.outputs in (1, 4) and c.kernel != (1, 1)], ids=str)
def test_depthwise(case: Case, dtype: str) -> None:
    rng = np.random.default_rng(len(str(case)))
    channels = case.group * case.channels
    attrs = {k: v for k, v in case.attrs.items() if k != "group"}
    plain = Case(**{**vars(case), "group": channels, "channels": 1, "outputs": 1})
    x = normal(rng, case.batch, case.height, case.width, channels, dtype=dtype)
    w = normal(rng, *case.kernel, channels, dtype=dtype)
    ohwi = w.transpose(2, 0, 1)[..., None]
    (y,) = check_kernel("DepthwiseConv2d", [x, w, None], attrs)
    assert_close(y, forward(plain, x, ohwi), dtype)
    check_kernel("DepthwiseConv2d", [x, w, normal(rng, channels)], {**attrs, **ACTIVATIONS[case.width % 3]})

    dy = normal(rng, *y.shape, dtype=dtype)
    want_dx, want_dw = backward(plain, x, ohwi, dy)
    hw = {"input_hw": (case.height, case.width)}
    (dx,) = check_kernel("DepthwiseConv2dInputGradient", [dy, w], {**attrs, **hw})
    assert_close(dx, want_dx, dtype)
    start = normal(rng, *w.shape)
    (dw,) = check_kernel("DepthwiseConv2dWeightGradient", [x, dy, start], attrs, inplace={0: 2})
    assert_close(dw, start + want_dw[..., 0].transpose(1, 2, 0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradient_across_chunks(dtype: str) -> None:
    """More pixels than one gathered chunk, with an odd rest: a chunk boundary changes no bit."""
    rng = np.random.default_rng(3)
    case = Case(batch=3, height=9, width=7, channels=5, outputs=18)
    x = normal(rng, 3, 9, 7, 5, dtype=dtype)
    dy = normal(rng, 3, 9, 7, 18, dtype=dtype)
    check_kernel(
        "Conv2dWeightGradient",
        [x, dy, normal(rng, 18, 3, 3, 5)],
        case.attrs,
        inplace={0: 2},
        workers=range(1, 9),
    )


@pytest.mark.parametrize("outputs", [24, 25, 26, 27])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (3, 3)])
def test_order_and_pairs_of_the_reduction(strides: tuple[int, int], outputs: int) -> None:
    """Operands that cancel: the results are rounding errors, which another order would change."""
    rng = np.random.default_rng(outputs)
    case = Case(height=9, width=8, channels=outputs, outputs=outputs, strides=strides)
    constant = np.float16(1.234)
    x = np.full((1, 9, 8, outputs), constant)
    w = cancelling(rng, outputs, 3, 3, outputs)
    (y,) = check_kernel("Conv2d", [x, w, None], case.attrs)
    assert 0 < np.abs(y).max() < 1
    dy = np.full(y.shape, constant)
    hw = {"input_hw": (9, 8)}
    (dx,) = check_kernel("Conv2dInputGradient", [dy, w[None]], {**case.attrs, **hw})
    assert 0 < np.abs(dx).max() < 1
    attrs = {k: v for k, v in case.attrs.items() if k != "group"}
    taps = np.ascontiguousarray(cancelling(rng, outputs, 9).T).reshape(3, 3, outputs)
    check_kernel("DepthwiseConv2d", [x, taps, None], attrs)
    check_kernel("DepthwiseConv2dInputGradient", [dy, taps], {**attrs, **hw})


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_stay_what_they_are(dtype: str) -> None:
    """The zero that completes an odd number of taps makes no NaN of an infinite input."""
    x, w = np.full((1, 4, 4, 5), np.inf, dtype), np.ones((3, 3, 5), dtype)
    (y,) = check_kernel("DepthwiseConv2d", [x, w, None], Case().attrs, allow_nan=True)
    assert np.isposinf(y).all()
    x = np.ones((1, 4, 4, 3), dtype)
    x[0, 1, 1] = np.nan
    check_kernel(
        "Conv2d",
        [x, np.ones((5, 3, 3, 3), dtype), None],
        {**Case().attrs, "activation": "relu"},
        allow_nan=True,
    )


def test_accumulating_samples_one_by_one_equals_an_even_batch() -> None:
    """Gradient accumulation continues the same dot product (an even number of pixels cuts no pair)."""
    rng = np.random.default_rng(4)
    case = Case(batch=2, height=4, width=6, channels=3, outputs=5)
    x, dy = normal(rng, 2, 4, 6, 3, dtype="f2"), normal(rng, 2, 4, 6, 5, dtype="f2")
    (whole,) = check_kernel(
        "Conv2dWeightGradient", [x, dy, np.zeros((5, 3, 3, 3), "f4")], case.attrs, inplace={0: 2}
    )
    acc = np.zeros((5, 3, 3, 3), "f4")
    for i in range(2):
        (acc,) = check_kernel(
            "Conv2dWeightGradient", [x[i : i + 1], dy[i : i + 1], acc], case.attrs, inplace={0: 2}
        )
    np.testing.assert_array_equal(acc.view("u4"), whole.view("u4"))


@pytest.mark.parametrize(
    "case",
    [
        Case(height=4, width=3, channels=2, outputs=3),
        Case(height=5, width=4, channels=2, outputs=2, strides=(2, 2), pads=(0, 0, 1, 1)),
        Case(height=4, width=4, channels=2, outputs=1, group=2, strides=(2, 1), kernel=(2, 3)),
        Case(height=5, width=5, channels=1, outputs=2, dilations=(2, 1), batch=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_gradients(case: Case, activation: str) -> None:
    """The rules themselves, through the differentiated graph, against central differences in float64."""
    rng = np.random.default_rng(5)
    channels, outputs = case.group * case.channels, case.group * case.outputs
    x = normal(rng, case.batch, case.height, case.width, channels)
    attrs = {**case.attrs, "activation": activation}

    def convolution(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = forward(case, x, w) + b
        return np.maximum(y, 0) if activation == "relu" else y

    w = normal(rng, outputs, *case.kernel, case.channels)
    check_gradient("Conv2d", [x, w, normal(rng, outputs)], convolution, attrs)
    del attrs["group"]
    case = replace(case, group=channels, channels=1, outputs=1)

    def depthwise(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        return convolution(x, w.transpose(2, 0, 1)[..., None], b)

    w = normal(rng, *case.kernel, channels)
    check_gradient("DepthwiseConv2d", [x, w, normal(rng, channels)], depthwise, attrs)
