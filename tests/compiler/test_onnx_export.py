"""Saved models: the input model with other weights, for ONNX Runtime the same as our graph."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import assert_close, model, node, normal, onnxruntime_output

from mcutrain.compiler.onnx_export import FOLDED_KEY, TRAINED_KEY
from mcutrain.compiler.onnx_io import ImportedModel, load_model, save_model
from mcutrain.errors import DataError, ModelError
from mcutrain.ir import Array
from mcutrain.reference import run_graph


def trained(imported: ImportedModel, only: str = "", seed: int = 3) -> tuple[ImportedModel, dict[str, Array]]:
    """The model with other values in the parameters whose name starts with ``only``, and these for saving."""
    graph = imported.graph.copy()
    weights = {}
    for tensor in imported.parameters:
        assert tensor.data is not None
        assert tensor.origin is not None
        if tensor.name.startswith(only):
            data = (tensor.data + 0.1 * normal(*tensor.shape, seed=seed)).astype(np.float32)
            graph.tensors[tensor.name] = replace(tensor, data=data)
            weights[tensor.origin.initializer] = tensor.origin.to_onnx(data)
    return replace(imported, graph=graph), weights


def round_trip(imported: ImportedModel, path: Path, only: str = "") -> onnx.ModelProto:
    """Save after 'training'; ONNX Runtime must score the file as our graph does, and so must its import."""
    changed, weights = trained(imported, only)
    save_model(imported, weights, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    saved = onnx.load(path)
    onnx.checker.check_model(saved, full_check=True)
    x = normal(*imported.graph.tensors["input"].shape)
    wanted = run_graph(changed.graph, {"input": x})["output"]
    assert_close(onnxruntime_output(saved, x), wanted)
    again = load_model(path)
    assert_close(run_graph(again.graph, {"input": x})["output"], wanted)
    (record,) = (p.value for p in saved.metadata_props if p.key == TRAINED_KEY)
    assert set(weights) <= set(json.loads(record))
    return saved


@pytest.mark.data
@pytest.mark.parametrize("name", ["dscnn_kws", "resnet8_ic", "autoencoder_ad"])
def test_mlperf_tiny(mlperf_tiny: Path, tmp_path: Path, name: str) -> None:
    original = onnx.load(mlperf_tiny / f"{name}.onnx")
    saved = round_trip(load_model(original), tmp_path / "all.onnx")
    assert not [n for n in saved.graph.node if n.op_type == "DequantizeLinear"]
    assert [n for n in original.graph.node if n.op_type != "DequantizeLinear"] == list(saved.graph.node)


@pytest.mark.data
def test_what_is_not_trained_stays_to_the_byte(mlperf_tiny: Path, tmp_path: Path) -> None:
    original = onnx.load(mlperf_tiny / "dscnn_kws.onnx")
    saved = round_trip(load_model(original), tmp_path / "dense.onnx", only="dense1")
    del saved.metadata_props[:]
    for tensor in saved.graph.initializer:
        before = next(t for t in original.graph.initializer if t.name == tensor.name)
        if tensor != before:
            assert tensor.dims == before.dims
            tensor.CopyFrom(before)
    assert saved == original


def norms(*channels: str) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    nodes = [node("BatchNormalization", f"{c} s{c} t{c} m{c} v{c}", f"n{c}") for c in channels]
    weights = {f"{k}{c}": normal(4, seed=i) for c in channels for i, k in enumerate("stm")}
    weights |= {f"v{c}": np.abs(normal(4, seed=9)) + np.float32(0.1) for c in channels}
    return nodes, weights


@pytest.mark.parametrize(
    "layer", ["Conv", "Conv with bias", "Gemm", "Gemm with bias", "MatMul", "MatMul with bias"]
)
@pytest.mark.parametrize("last", [False, True])
def test_folded_batch_norm(tmp_path: Path, layer: str, last: bool) -> None:
    """Of each kind of layer; as the last node, its output's name stays."""
    (norm,), weights = norms("a")
    op, _, bias = layer.partition(" ")
    shape = [1, 3, 5, 5] if op == "Conv" else [1, 3]
    weights |= {"w": normal(4, 3, 2, 2) if op == "Conv" else normal(3, 4), "b": normal(4)}
    if op == "MatMul" and bias:
        nodes = [node("MatMul", "x w", "p"), node("Add", "p b", "a"), norm]
    else:
        nodes = [node(op, "x w b" if bias else "x w", "a"), norm]
    if not bias:
        del weights["b"]
    if not last:
        nodes.append(node("Relu", "na", "y"))
    proto = model(shape, nodes, weights, output="na" if last else "y")
    imported = load_model(proto)
    assert [f.node for f in imported.folded] == ["BatchNormalization_na"]
    saved = round_trip(imported, tmp_path / "m.onnx")
    assert "BatchNormalization" not in [n.op_type for n in saved.graph.node]
    assert {t.name for t in saved.graph.initializer} == {"w", "b"} if bias else {"w", "w.bias"}
    assert [o.name for o in saved.graph.output] == [o.name for o in proto.graph.output]
    (record,) = (p.value for p in saved.metadata_props if p.key == FOLDED_KEY)
    assert json.loads(record) == ["BatchNormalization_na"]


def test_only_touched_batch_norms_are_removed(tmp_path: Path) -> None:
    nodes, weights = norms("a", "b")
    nodes = [
        node("Conv", "x w1", "a"),
        nodes[0],
        node("Conv", "na w2", "b"),
        nodes[1],
        node("Relu", "nb", "y"),
    ]
    weights |= {"w1": normal(4, 3, 2, 2), "w2": normal(4, 4, 2, 2)}
    imported = load_model(model([1, 3, 5, 5], nodes, weights))
    saved = round_trip(imported, tmp_path / "m.onnx", only="conv2")
    assert [n.op_type for n in saved.graph.node] == ["Conv", "BatchNormalization", "Conv", "Relu"]


def test_batch_norm_with_nothing_before_it_stays(tmp_path: Path) -> None:
    (norm,), weights = norms("a")
    nodes = [node("Relu", "x", "a"), norm, node("Conv", "na w", "y")]
    imported = load_model(model([1, 4, 5, 5], nodes, {**weights, "w": normal(2, 4, 2, 2)}))
    assert imported.folded == []
    assert {"Mul", "Add"} <= {n.op for n in imported.graph.nodes}
    saved = round_trip(imported, tmp_path / "m.onnx")
    assert "BatchNormalization" in [n.op_type for n in saved.graph.node]


def test_weights_of_constant_nodes_and_computed_weights(tmp_path: Path) -> None:
    nodes = [
        node("Constant", "", "w", value=numpy_helper.from_array(normal(3, 4))),
        node("Gemm", "x w b", "a"),
        node("Mul", "v g", "u"),
        node("Gemm", "a u", "y", transB=1),
    ]
    imported = load_model(model([1, 3], nodes, {"b": normal(4), "v": normal(5, 4), "g": normal(5, 1)}))
    saved = round_trip(imported, tmp_path / "m.onnx")
    assert {t.name for t in saved.graph.initializer} == {"w", "b", "u"}
    assert [n.op_type for n in saved.graph.node] == ["Gemm", "Gemm"]


def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    imported = load_model(model([1, 3], [node("Gemm", "x w", "y")], {"w": normal(3, 4)}))
    path = tmp_path / "m.onnx"
    with pytest.raises(DataError, match="'v' is not a trainable initializer"):
        save_model(imported, {"v": normal(3, 4)}, path)
    with pytest.raises(DataError, match=r"'w' has shape \(4, 3\)"):
        save_model(imported, {"w": normal(4, 3)}, path)
    with pytest.raises(DataError, match="NaN"):
        save_model(imported, {"w": np.full((3, 4), np.nan, np.float32)}, path)
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(imported, {"w": normal(3, 4)}, tmp_path / "missing" / "m.onnx")
    path.mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(imported, {"w": normal(3, 4)}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_saving_is_deterministic_and_keeps_metadata(tmp_path: Path) -> None:
    proto = model([1, 3], [node("Gemm", "x w", "y")], {"w": normal(3, 4)})
    proto.metadata_props.add(key="author", value="someone")
    imported = load_model(proto)
    for name in ("a", "b"):
        save_model(imported, {"w": normal(3, 4, seed=2)}, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    saved = onnx.load(tmp_path / "a")
    assert {p.key: p.value for p in saved.metadata_props} == {"author": "someone", TRAINED_KEY: '["w"]'}


def test_old_files_list_initializers_as_inputs(tmp_path: Path) -> None:
    (norm,), weights = norms("a")
    proto = model(
        [1, 3], [node("Gemm", "x w", "a"), norm], {"w": normal(3, 4), **weights}, opset=11, output="na"
    )
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(value)
    saved = round_trip(load_model(proto), tmp_path / "m.onnx")
    assert [v.name for v in saved.graph.input] == ["x", "w", "w.bias"]
