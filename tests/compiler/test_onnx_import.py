"""Imported graphs compute what ONNX Runtime computes, in our layout and with nothing left to move."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import (
    assert_close,
    assert_types,
    check,
    int64,
    model,
    node,
    normal,
    onnxruntime_output,
    operators,
)

from mcutrain.compiler.onnx_io import load_model
from mcutrain.ir import prune
from mcutrain.reference import run_graph


@pytest.mark.data
@pytest.mark.parametrize("name", ["dscnn_kws", "resnet8_ic", "autoencoder_ad"])
def test_mlperf_tiny_models_as_they_are(mlperf_tiny: Path, name: str) -> None:
    proto = onnx.load(mlperf_tiny / f"{name}.onnx")
    imported = load_model(mlperf_tiny / f"{name}.onnx")
    assert_types(imported)
    assert not {"Transpose", "Add"} & set(operators(imported)) - ({"Add"} if name == "resnet8_ic" else set())
    assert "Relu" not in operators(imported) or name == "resnet8_ic"
    x = normal(*imported.graph.tensors["input"].shape)
    assert_close(run_graph(imported.graph, {"input": x})["output"], onnxruntime_output(proto, x))


@pytest.mark.data
def test_names_of_dscnn(mlperf_tiny: Path) -> None:
    imported = load_model(mlperf_tiny / "dscnn_kws.onnx")
    names = [t.name for t in imported.parameters]
    assert names[:4] == ["conv1.weight", "conv1.bias", "depthwise1.weight", "depthwise1.bias"]
    assert names[-2:] == ["dense1.weight", "dense1.bias"]
    first = imported.parameters[0]
    assert first.origin is not None
    assert first.origin.initializer == "functional_1/conv2d/Conv2D_dequant"
    assert first.origin.shape == (64, 1, 10, 4)
    assert imported.graph.tensors["input"].shape == (1, 49, 10, 1)
    assert imported.graph.tensors["output"].shape == (1, 12)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"strides": s, "pads": p, "dilations": d, "group": g}
    for s, p, d, g in itertools.product(
        ([1, 1], [2, 3]), ([0, 0, 0, 0], [1, 2, 0, 1]), ([1, 1], [2, 1]), (1, 2, 4)
    )
] + [{"auto_pad": a, "strides": [2, 2]} for a in ("SAME_UPPER", "SAME_LOWER", "VALID")]


@pytest.mark.parametrize("attrs", CONVOLUTIONS, ids=str)
def test_convolution(attrs: dict[str, Any]) -> None:
    group = attrs.get("group", 1)
    for outputs in (4, 8):
        weights = {"w": normal(outputs, 4 // group, 3, 2), "b": normal(outputs)}
        imported = check(model([1, 4, 9, 8], [node("Conv", "x w b", "y", **attrs)], weights))
        depthwise = group == 4 == outputs
        assert ("DepthwiseConv2d" if depthwise else "Conv2d") in operators(imported)
        assert [t.name for t in imported.parameters] == [
            f"{'depthwise' if depthwise else 'conv'}1.{role}" for role in ("weight", "bias")
        ]


def test_convolution_of_sequences_with_a_residual_moves_nothing_inside() -> None:
    nodes = [
        node("Conv", "x w1 b1", "a", pads=[1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "c", pads=[2, 2], dilations=[2]),
        node("Add", "c b", "d"),
        node("BatchNormalization", "d s t m v", "e"),
        node("MaxPool", "e", "f", kernel_shape=[2], strides=[2]),
        node("GlobalAveragePool", "f", "g"),
        node("Flatten", "g", "y"),
    ]
    weights = {
        **{"w1": normal(6, 3, 3), "b1": normal(6), "w2": normal(6, 6, 3)},
        **{"s": normal(6), "t": normal(6, seed=1), "m": normal(6, seed=2), "v": np.abs(normal(6))},
    }
    imported = check(model(["N", 3, 16], nodes, weights))
    assert operators(imported).count("Transpose") == 1  # the input's
    assert imported.folded == []


ONNXRUNTIME = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
POOLS: list[tuple[str, dict[str, Any]]] = [
    (op, {"kernel_shape": [3, 2], **more, **extra})
    for op in ("MaxPool", "AveragePool")
    for more in (
        {},
        {"strides": [2, 2]},
        {"strides": [2, 3], "pads": [1, 0, 2, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    )
    for extra in (({"dilations": [2, 1]}, {}) if op == "MaxPool" else ({"count_include_pad": 1}, {}))
    # ONNX Runtime leaves the dilation out of SAME padding, against the standard
    if not ("auto_pad" in more and "dilations" in extra)
    # and up to 1.23, the last for Python 3.10, counts what ceil_mode adds as padding
    if not ("ceil_mode" in more and "count_include_pad" in extra and ONNXRUNTIME <= (1, 23))
]


@pytest.mark.parametrize(("op", "attrs"), POOLS, ids=str)
def test_pooling(op: str, attrs: dict[str, Any]) -> None:
    for shape in ([1, 3, 11, 8], [2, 4, 8, 9]):
        check(model(shape, [node(op, "x", "y", **attrs)]))


@pytest.mark.parametrize("shape", [[1, 3, 5], [1, 3, 4, 5], [2, 3, 4, 5]], ids=str)
def test_global_pooling_and_means(shape: list[int]) -> None:
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        check(model(shape, [node(op, "x", "y")]))
    for axes in ([2], [-1, 1], [0], list(range(len(shape)))):
        for keep in (0, 1):
            check(model(shape, [node("ReduceMean", "x", "y", axes=axes, keepdims=keep)]))
            proto = model(
                shape, [node("ReduceMean", "x axes", "y", keepdims=keep)], {"axes": int64(*axes)}, 18
            )
            check(proto)


@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("c", [None, (), (1,), (3,), (1, 3), (2, 1), (2, 3)], ids=str)
def test_gemm(trans: tuple[int, int], c: tuple[int, ...] | None) -> None:
    for alpha, beta in ((1.0, 1.0), (0.5, 2.0), (1.0, 0.0)):
        attrs = {"transA": trans[0], "transB": trans[1], "alpha": alpha, "beta": beta}
        weights = {"w": normal(3, 5) if trans[1] else normal(5, 3)}
        if c is not None:
            weights["c"] = normal(*c)
        inputs = "x w" if c is None else "x w c"
        imported = check(model([5, 2] if trans[0] else [2, 5], [node("Gemm", inputs, "y", **attrs)], weights))
        if c in ((3,), (1, 3)) and alpha == beta == 1.0:
            assert [t.name for t in imported.parameters] == ["dense1.weight", "dense1.bias"]
            assert "Add" not in operators(imported)


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((1, 4), (4, 3)),
        ((4,), (4, 3)),
        ((4,), (4,)),
        ((2, 4), (4,)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (3, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((4,), (2, 4, 5)),
        ((2, 3, 4), (1, 4, 5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("swap", [False, True])
def test_matmul(x: tuple[int, ...], w: tuple[int, ...], swap: bool) -> None:
    if swap:  # the constant on the left: (x w)^T = w^T x^T
        x, w = (t[:-2] + t[-2:][::-1] for t in (x, w))
        check(model(x, [node("MatMul", "w x", "y")], {"w": normal(*w)}))
    else:
        check(model(x, [node("MatMul", "x w", "y")], {"w": normal(*w)}))


def test_the_bias_of_a_single_output_is_trained() -> None:
    for nodes, shape in (
        ([node("Gemm", "x w b", "y", transB=1)], (1, 5)),
        ([node("MatMul", "x w", "a"), node("Add", "a b", "y")], (5, 1)),
    ):
        imported = check(model([1, 5], nodes, {"w": normal(*shape), "b": normal(1)}))
        assert {p.origin.initializer for p in imported.parameters if p.origin} == {"w", "b"}


def test_matmul_of_two_activations() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 2, 1]),
        node("MatMul", "x t", "a"),
        node("Softmax", "a", "y"),
    ]
    check(model([2, 3, 4], nodes))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (5,), (1, 3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_arithmetic(op: str, shape: tuple[int, ...]) -> None:
    weights = {"c": normal(*shape) + np.float32(4)}
    for inputs in ("x c", "c x"):
        if inputs == "c x" and op == "Div":
            continue
        imported = check(model([1, 3, 4, 5], [node(op, inputs, "y")], weights))
        trained = op in ("Add", "Mul") and int(np.prod(shape)) > 1
        assert len(imported.parameters) == trained


def test_arithmetic_after_a_convolution_stays_in_our_layout() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Mul", "a g", "b"),
        node("GlobalAveragePool", "b", "p"),
        node("Sigmoid", "p", "q"),
        node("Mul", "b q", "c"),
        node("Sub", "c k", "d"),
        node("Clip", "d lo hi", "e"),
        node("LeakyRelu", "e", "f", alpha=0.2),
        node("Conv", "f w2", "y"),
    ]
    weights = {"w": normal(4, 2, 3, 3), "g": normal(4, 5, 6), "k": normal(6), "w2": normal(2, 4, 1, 1)}
    imported = check(model([1, 2, 7, 8], nodes, {**weights, "lo": -0.5, "hi": 6.0}))
    assert operators(imported).count("Transpose") == 2
    assert [t.name for t in imported.parameters] == ["conv1.weight", "mul1.weight", "conv2.weight"]


@pytest.mark.parametrize(
    ("inputs", "weights", "op"),
    [
        ("x lo hi", {"lo": 0.0, "hi": 6.0}, "Clip"),
        ("x lo", {"lo": 0.0}, "Relu"),
        ("x - hi", {"hi": 0.25}, "Clip"),
        ("x", {}, "Reshape"),
        ("x lo hi", {"lo": -np.inf, "hi": np.inf}, "Reshape"),
    ],
)
def test_clip(inputs: str, weights: dict[str, float], op: str) -> None:
    assert operators(check(model([2, 3], [node("Clip", inputs, "y")], weights))) == [op]


@pytest.mark.parametrize("opset", [11, 13, 22])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(op: str, opset: int) -> None:
    for axis in (None, 0, 1, 2, -1):
        attrs = {} if axis is None else {"axis": axis}
        check(model([2, 3, 4], [node(op, "x", "y", **attrs)], opset=opset))


def test_softmax_over_channels_after_a_convolution() -> None:
    nodes = [node("Conv", "x w", "a"), node("Softmax", "a", "b", axis=1), node("Conv", "b v", "y")]
    imported = check(model([1, 2, 7, 8], nodes, {"w": normal(4, 2, 3, 3), "v": normal(4, 4, 2, 2)}))
    (softmax,) = (n for n in imported.graph.nodes if n.op == "Softmax")
    assert softmax.attrs["axis"] == 3
    assert operators(imported).count("Transpose") == 2


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 18, 22])
def test_a_typical_exported_cnn_moves_only_its_input(opset: int) -> None:
    """Convolutions with batch norm, a residual, and Flatten in front of Gemm, as PyTorch writes them."""
    norm = [node("BatchNormalization", f"{c} s{c} t{c} m{c} v{c}", f"n{c}", epsilon=1e-3) for c in "ac"]
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        norm[0],
        node("Relu", "na", "b"),
        node("Conv", "b w2 b2", "c", pads=[1, 1, 1, 1]),
        norm[1],
        node("Add", "nc b", "d"),
        node("Relu", "d", "e"),
        node("MaxPool", "e", "f", kernel_shape=[2, 2], strides=[2, 2]),
        node("Dropout", "f", "g"),
        node("Flatten", "g", "h"),
        node("Gemm", "h w3 b3", "y", transB=1),
    ]
    weights = {
        "w1": normal(6, 3, 3, 3),
        "w2": normal(6, 6, 3, 3),
        "b2": normal(6),
        "w3": normal(5, 6 * 4 * 5),
    }
    weights["b3"] = normal(5)
    for seed, c in enumerate("ac"):
        stats = {f"{k}{c}": normal(6, seed=10 * seed + i) for i, k in enumerate("stmv")}
        weights |= {**stats, f"v{c}": np.abs(stats[f"v{c}"]) + np.float32(0.1)}
    imported = check(model(["batch", 3, 8, 10], nodes, weights, opset))
    assert [n.op for n in imported.graph.nodes] == [
        *("Reshape", "Transpose", "Reshape"),
        *("Conv2d", "Conv2d", "Add", "Relu", "MaxPool2d", "Reshape", "Dense"),
    ]
    assert [(f.node, f.weight, f.bias) for f in imported.folded] == [
        ("BatchNormalization_na", "w1", "w1.bias"),
        ("BatchNormalization_nc", "w2", "b2"),
    ]


def test_one_channel_needs_no_move_at_all() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "b"),
        node("Flatten", "b", "c"),
        node("MatMul", "c v", "y"),
    ]
    imported = check(model(["N", 1, 8, 8], nodes, {"w": normal(4, 1, 3, 3), "v": normal(144, 10)}))
    assert operators(imported) == ["Reshape", "Conv2d", "Reshape", "Dense"]


def test_shape_subgraphs_fold_away() -> None:
    """What PyTorch leaves behind for ``x.view(x.size(0), -1)`` and ``flatten``."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"),
        node("Constant", "", "rest", value=onnx.numpy_helper.from_array(int64(-1))),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "f"),
        node("MatMul", "f w", "y"),
    ]
    weights = {"zero": np.array(0, np.int64), "axes": int64(0), "w": normal(12, 3)}
    assert operators(check(model(["N", 3, 4], nodes, weights))) == ["Reshape", "Dense"]


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_dequantized_weights(axis: int | None) -> None:
    rng = np.random.default_rng(1)
    quantized = rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    count = 1 if axis is None else quantized.shape[axis]
    scale, zero = (
        rng.uniform(0.01, 0.02, count).astype(np.float32),
        rng.integers(-5, 5, count).astype(np.int8),
    )
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    nodes = [
        node("DequantizeLinear", "q s z", "w", **({} if axis is None else {"axis": axis})),
        node("Conv", "x w", "y"),
    ]
    imported = check(model([1, 3, 5, 5], nodes, {"q": quantized, "s": scale, "z": zero}))
    (weight,) = imported.parameters
    assert weight.origin is not None
    assert weight.origin.initializer == "w"


def test_padding_becomes_the_convolutions_own() -> None:
    pads = int64(0, 0, 1, 2, 0, 0, 3, 0)
    nodes = [node("Pad", "x pads", "a"), node("Conv", "a w", "y", pads=[1, 0, 0, 1])]
    imported = check(model([1, 2, 5, 6], nodes, {"pads": pads, "w": normal(3, 2, 3, 3)}))
    assert "Pad" not in operators(imported)
    nodes = [node("Pad", "x pads", "a"), node("Relu", "a", "y")]
    assert "Pad" in operators(check(model([1, 2, 5, 6], nodes, {"pads": int64(0, 1, 0, 2, 1, 0, 3, 0)})))


def test_views_and_their_opposites_vanish() -> None:
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
        node("Tanh", "a", "b"),
        node("Unsqueeze", "b axes", "c"),
        node("Squeeze", "c axes", "d"),
        node("Transpose", "d", "y", perm=[0, 3, 1, 2]),
    ]
    assert operators(check(model([2, 3, 4, 5], nodes, {"axes": int64(1)}))) == ["Tanh"]


def test_shared_weights_stay_one_parameter() -> None:
    nodes = [
        node("Gemm", "x w", "a"),
        node("Relu", "a", "b"),
        node("Gemm", "b w", "c"),
        node("Gemm", "c w", "y", transB=1),
    ]
    imported = check(model([1, 4], nodes, {"w": normal(4, 4)}))
    assert len(imported.parameters) == 1
    nodes = [node("Conv", "x w", "a"), node("Conv", "a w", "y")]
    imported = check(model([1, 3, 7, 7], nodes, {"w": normal(3, 3, 3, 3)}))
    (weight,) = imported.parameters
    assert weight.shape == (3, 3, 3, 3)
    assert weight.origin is not None
    assert [s.kind for s in weight.origin.steps] == ["transpose"]


def test_an_initializer_that_also_went_into_a_computed_constant_is_not_trained() -> None:
    nodes = [node("Gemm", "x w", "a"), node("Mul", "w w", "w2"), node("Gemm", "a w2", "y")]
    imported = check(model([1, 4], nodes, {"w": normal(4, 4)}))
    assert [t.name for t in imported.parameters] == ["dense2.weight"]
    assert imported.graph.tensors["dense1.weight"].kind == "constant"


def test_a_dead_branch_may_hold_anything() -> None:
    nodes = [node("Relu", "x", "y"), node("LSTM", "x w r", "z", hidden_size=2)]
    proto = model([3, 1, 2], nodes, {"w": normal(1, 8, 2), "r": normal(1, 8, 2)})
    assert operators(load_model(proto)) == ["Relu"]


def test_the_input_itself_as_output() -> None:
    imported = check(model([1, 3], [node("Identity", "x", "y")]))
    assert operators(imported) == ["Reshape"]
    assert prune(imported.graph).outputs == ["output"]
