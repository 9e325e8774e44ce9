"""ONNX's own cases of every operator we claim to support, through our backend.

What is left out of an operator's cases is listed with its reason.  All of the
suite's cases of Pad pad with another value than zero, which we refuse.
"""

from __future__ import annotations

import unittest
import warnings

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.test import BackendTest

from mcutrain import onnx_backend
from mcutrain.errors import DataError, UnsupportedError

#: Patterns of whole case names, after ``test_`` and before the device.
CASES = [
    r"basic_conv_with(out)?_padding",
    r"conv_with_\w+",
    r"gemm_\w+",
    r"matmul_\w+",
    r"relu",
    r"clip(?!_default_int8)\w*",
    r"leakyrelu\w*",
    r"(sigmoid|tanh)(_example)?",
    r"(add|sub|mul|div)(_example|_bcast)?",
    r"maxpool_(1d|2d)_\w+",
    r"averagepool_(1d|2d)_\w+",
    r"global(average|max)pool(_precomputed)?",
    r"reduce_mean_\w+",
    r"(log)?softmax_\w+",
    r"flatten_\w+",
    r"reshape_\w+",
    r"transpose_\w+",
    r"squeeze\w*",
    r"unsqueeze_\w+",
    r"identity",
    r"dropout_default(_ratio|_old)?",
    r"dropout_random_old",
    r"training_dropout_zero_ratio",
    r"constant",
    r"dequantizelinear\w*",
    r"batchnorm_(example|epsilon)",
]
#: Cases of these operators that we don't claim, and why.
LEFT_OUT = {
    r"maxpool_2d_uint8": "integers",
    r"leakyrelu\w*_expanded\w*": "functions written out in operators that we don't have (Where, CastLike)",
    r"\w+_expanded\w*": "the same",
    r"dequantizelinear_\w*float16": "float16 results",
    r"training_dropout_zero_ratio": "training mode",
    r"reshape_zero_and_negative_dim_allowzero\w*": "tensors without elements",
    r"reshape_allowzero_reordered": "tensors without elements",
}


def selected() -> type[unittest.TestCase]:
    """The suite's cases of single operators, with nothing in it but what is listed above, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own data overflow on purpose
        suite = BackendTest(onnx_backend.McutrainBackend, __name__)
    for pattern in CASES:
        suite.include(rf"^test_{pattern}_cpu$")
    for pattern in LEFT_OUT:
        suite.exclude(rf"^test_{pattern}_cpu$")
    case = suite.test_cases["OnnxBackendNodeModelTest"]
    for name in [n for n in dir(case) if n.startswith("test_")]:
        if getattr(getattr(case, name), "__unittest_skip__", False):
            delattr(case, name)
    return case


OnnxOperatorCases = selected()


def test_every_pattern_has_its_cases() -> None:
    """The cases are there, and no pattern went dead with a new version of the suite."""
    names = [n for n in dir(OnnxOperatorCases) if n.startswith("test_")]
    assert len(names) >= 110
    for word in (
        "conv",
        "gemm",
        "matmul",
        "relu",
        "clip",
        "softmax",
        "pool",
        "reshape",
        "dequantize",
        "batchnorm",
    ):
        assert any(word in name for name in names), word


def test_run_node_and_inputs_by_name() -> None:
    x = np.array([[-1.0, 2.0]], np.float32)
    (y,) = onnx_backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [x])
    assert y.tolist() == [[0.0, 2.0]]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    prepared = onnx_backend.prepare(model)
    assert np.array_equal(prepared.run({"x": x})[0], prepared.run(x)[0])
    with pytest.raises(DataError, match="the inputs are x"):
        prepared.run({"z": x})


def test_other_devices_and_operators_are_refused() -> None:
    assert not onnx_backend.supports_device("CUDA")
    node = helper.make_node("Erf", ["x"], ["y"])
    with pytest.raises(UnsupportedError, match="Erf"):
        onnx_backend.run_node(node, [np.zeros((1, 2), np.float32)])
    with pytest.raises(UnsupportedError, match="CUDA"):
        onnx_backend.run_node(node, [np.zeros((1, 2), np.float32)], "CUDA")
