"""What cannot be imported is refused by name, and no damaged file gets past our own errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import int64, model, node, normal

from mcutrain.compiler.onnx_io import load_model
from mcutrain.errors import McutrainError, ModelError, UnsupportedError
from mcutrain.ir import verify


def refused(proto: onnx.ModelProto, *words: str, kind: type[ModelError] = UnsupportedError) -> None:
    with pytest.raises(kind) as caught:
        load_model(proto)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy


CONV_WEIGHT = {"w": normal(4, 3, 3, 3)}


@pytest.mark.parametrize(
    ("shape", "nodes", "weights", "words"),
    [
        ([1, 3], [node("Elu", "x", "y")], {}, ["'Elu_y' (Elu)", "not supported", "LeakyRelu"]),
        ([1, 3], [node("Concat", "x x", "y", axis=0)], {}, ["'Concat_y' (Concat)"]),
        ([1, 3, 4, 4, 4], [node("MaxPool", "x", "y", kernel_shape=[2, 2, 2])], {}, ["(MaxPool)", "3-D"]),
        (
            [1, 3, 4, 4],
            [node("Conv", "x w", "y", pads=[0, -1, 0, 0])],
            CONV_WEIGHT,
            ["(Conv)", "'pads'", "crop"],
        ),
        ([4, 3, 3, 3], [node("Conv", "x x", "y")], {}, ["(Conv)", "weight depends on the model's input"]),
        ([1, 3, 4, 4], [node("MaxPool", "x", "p y", kernel_shape=[2, 2])], {}, ["(MaxPool)", "'y'"]),
        ([1, 3], [node("LeakyRelu", "x", "y", alpha=-0.5)], {}, ["(LeakyRelu)", "'alpha' = -0.5"]),
        (
            [1, 3],
            [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Cast", "h", "y", to=1)],
            {},
            ["(Cast)"],
        ),
        ([1, 3], [node("Pad", "x p v", "y")], {"p": int64(0, 1, 0, 1), "v": 1.0}, ["(Pad)", "pads with 1.0"]),
        (
            [1, 3],
            [node("Pad", "x p", "y", mode="reflect")],
            {"p": int64(0, 1, 0, 1)},
            ["(Pad)", "'mode' = 'reflect'"],
        ),
        ([1, 3], [node("Gemm", "x w", "y")], {"w": normal(3, 2).astype(np.float64)}, ["'w'", "float64"]),
    ],
    ids=lambda v: v[0].op_type if isinstance(v, list) and v and isinstance(v[0], onnx.NodeProto) else "",
)
def test_unsupported(
    shape: list[int], nodes: list[onnx.NodeProto], weights: dict[str, Any], words: list[str]
) -> None:
    refused(model(shape, nodes, weights), *words)


def test_second_outputs_that_nothing_reads_are_no_reason_to_refuse() -> None:
    nodes = [node("MaxPool", "x", "a i", kernel_shape=[2, 2]), node("Dropout", "a", "y m")]
    load_model(model([1, 3, 4, 4], nodes))


@pytest.mark.parametrize(
    ("shape", "nodes", "weights", "words"),
    [
        ([1, 4, 4, 4], [node("Conv", "x w", "y")], CONV_WEIGHT, ["(Conv)", "1 groups of 3 channels for 4"]),
        ([1, 3, 2, 4], [node("Conv", "x w", "y")], CONV_WEIGHT, ["(Conv)", "kernel reaches over 3"]),
        ([1, 3], [node("Add", "x w", "y")], {"w": normal(4)}, ["(Add)", "do not broadcast"]),
        ([1, 3], [node("MatMul", "x w", "y")], {"w": normal(4, 3)}, ["(MatMul)", "(1, 3)", "(4, 3)"]),
        ([1, 3], [node("Reshape", "x s", "y")], {"s": int64(32, 3)}, ["(Reshape)", "batch is 1"]),
        ([1, 3], [node("Gemm", "x w", "y")], {"w": np.full((3, 2), np.nan, np.float32)}, ["'w'", "NaN"]),
        ([1, 3], [node("Gemm", "x w", "y")], {"w": np.full((3, 2), np.inf, np.float32)}, ["'w'", "infinite"]),
        (
            [1, 3],
            [node("Expand", "c s", "e"), node("Add", "x e", "y")],
            {"c": 1.0, "s": int64(1 << 20, 1 << 20)},
            ["(Expand)"],
        ),
    ],
    ids=lambda v: v[0].op_type if isinstance(v, list) and v and isinstance(v[0], onnx.NodeProto) else "",
)
def test_invalid(
    shape: list[int], nodes: list[onnx.NodeProto], weights: dict[str, Any], words: list[str]
) -> None:
    proto = model(shape, nodes, weights)
    if not proto.graph.output[0].type.tensor_type.HasField("shape"):
        proto.graph.output[0].type.tensor_type.shape.SetInParent()
    refused(proto, *words, kind=ModelError)


def relu() -> onnx.ModelProto:
    return model(["N", 3], [node("Relu", "x", "y")])


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return change


def _dynamic(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"


def _no_shape(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def _second_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1]))


def _second_output(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(node("Tanh", "x", "z"))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]))


def _integers(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


def _custom(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    proto.graph.node[0].domain = "com.example"


def _empty_axis(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_opset(10), ["opset 10"]),
        (_opset(23), ["opset 23"]),
        (_dynamic, ["'x'", "axis 1", "'length'"]),
        (_no_shape, ["'shape'"]),
        (_second_input, ["2 inputs", "'x2'"]),
        (_second_output, ["2 outputs", "'z'"]),
        (_integers, ["'x'", "INT8"]),
        (_custom, ["'Relu_y'", "'com.example'"]),
        (_empty_axis, ["'x'", "length 0"]),
    ],
)
def test_models_as_a_whole(change: Callable[[onnx.ModelProto], None], words: list[str]) -> None:
    proto = relu()
    change(proto)
    refused(proto, *words, kind=ModelError)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match="No such file"):
        load_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="empty"):
        load_model(path)
    path.write_bytes(b"# not ONNX at all\n")
    with pytest.raises(ModelError, match=r"m\.onnx"):
        load_model(path)
    with pytest.raises(ModelError):
        load_model(tmp_path)


def test_external_data(tmp_path: Path) -> None:
    proto = model([1, 300], [node("Gemm", "x w", "y")], {"w": normal(300, 4)})
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    (weight,) = load_model(path).parameters
    assert weight.shape == (4, 300)
    with pytest.raises(ModelError, match="'w' keeps its data in another file"):
        load_model(onnx.load(path, load_external_data=False))
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match="external data of initializer 'w'"):
        load_model(path)


def samples() -> list[bytes]:
    """Small models that take many ways through the importer."""
    conv = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "a s s s s", "n"),
        node("Clip", "n lo hi", "c"),
        node("AveragePool", "c", "d", kernel_shape=[2, 2], ceil_mode=1, auto_pad="SAME_UPPER"),
        node("Shape", "d", "e"),
        node("Gather", "e i", "f"),
        node("Unsqueeze", "f axes", "g"),
        node("Concat", "g rest", "h", axis=0),
        node("Reshape", "d h", "j"),
        node("Gemm", "j v", "k", alpha=0.5),
        node("Softmax", "k", "y"),
    ]
    weights = {"w": normal(2, 2, 3, 3), "b": normal(2), "s": [0.5, 0.25], "lo": 0.0, "hi": 6.0}
    weights |= {"i": np.array(0), "axes": int64(0), "rest": int64(-1), "v": normal(32, 3)}
    sequence = [
        node("Transpose", "x", "t", perm=[0, 2, 1]),
        node("DequantizeLinear", "q qs qz", "w", axis=0),
        node("Conv", "t w", "a", auto_pad="SAME_LOWER"),
        node("MaxPool", "a", "b", kernel_shape=[2], pads=[1, 0]),
        node("Pad", "b p", "c"),
        node("Add", "c r", "d"),
        node("ReduceMean", "d", "e", axes=[2], keepdims=0),
        node("MatMul", "e m", "y"),
    ]
    more = {"q": np.ones((2, 3, 2), np.int8), "qs": [0.5, 0.5], "qz": np.zeros(2, np.int8), "r": normal(2, 1)}
    more |= {"p": int64(0, 0, 1, 0, 0, 1), "m": normal(2, 3)}
    protos = [model(["N", 2, 8, 8], conv, weights), model([1, 6, 3], sequence, more)]
    for proto in protos:
        verify(load_model(proto).graph)
    return [proto.SerializeToString() for proto in protos]


SAMPLES = samples()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_our_errors_only(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(0, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    try:
        imported = load_model(path)
    except McutrainError:
        return
    verify(imported.graph)
