"""Reading an ONNX file: everything that can be wrong with it before its operators are looked at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, numpy_helper

from mcutrain.errors import ModelError, UnsupportedError
from mcutrain.ir import Array

OLDEST_OPSET = 11
NEWEST_OPSET = 22
_MAIN_DOMAINS = ("", "ai.onnx")


def read_proto(model: str | os.PathLike[str] | onnx.ModelProto) -> onnx.ModelProto:
    """The model, checked and with external data taken in; a ModelProto is copied.

    Raises ModelError if the file cannot be read or is not valid ONNX.
    """
    if isinstance(model, onnx.ModelProto):
        proto, label, folder = onnx.ModelProto(), "model", None
        proto.CopyFrom(model)
    else:
        path = Path(model)
        label, folder = path.name, str(path.parent)
        try:
            content = path.read_bytes()
        except OSError as e:
            raise ModelError(f"{path}: {e.strerror or e}", "give the path of an ONNX file") from e
        if not content:
            raise ModelError(f"{path}: the file is empty", "export or download the model again")
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(content)
        except Exception as e:  # protobuf's DecodeError, which has no typed module
            raise ModelError(
                f"{path}: not an ONNX file, or cut short", "export or download the model again"
            ) from e
    _take_in_external_data(proto, label, folder)
    _check(proto, label)
    return proto


def _take_in_external_data(proto: onnx.ModelProto, label: str, folder: str | None) -> None:
    tensors = [t for t in proto.graph.initializer if external_data_helper.uses_external_data(t)]
    if not tensors:
        return
    if folder is None:
        raise ModelError(
            f"{label}: initializer '{tensors[0].name}' keeps its data in another file",
            "pass the path of the file instead of a ModelProto",
        )
    try:
        external_data_helper.load_external_data_for_model(proto, folder)
    except Exception as e:  # any of OSError, ValueError, onnx's own: all mean that the data are not there
        raise ModelError(
            f"{label}: the external data of initializer '{tensors[0].name}' cannot be read ({e})",
            f"put the data file into {folder}, or save the model with its weights inside",
        ) from e


def _check(proto: onnx.ModelProto, label: str) -> None:
    version = opset(proto)
    if version is None:
        raise ModelError(f"{label}: it imports no ONNX operator set", "export the model again")
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise UnsupportedError(
            f"{label}: opset {version} is not supported ({OLDEST_OPSET} to {NEWEST_OPSET} are)",
            f"export with an opset from {OLDEST_OPSET} to {NEWEST_OPSET}, or use onnx.version_converter",
        )
    if proto.functions:
        raise UnsupportedError(
            f"{label}: it defines the function '{proto.functions[0].name}'",
            "inline functions with onnx.inliner.inline_local_functions first",
        )
    if proto.graph.sparse_initializer:
        raise UnsupportedError(f"{label}: it has sparse initializers", "save the weights as dense tensors")
    _check_operators(proto)
    try:
        onnx.checker.check_model(proto)
    except Exception as e:  # ValidationError and whatever a damaged model provokes in the checker
        raise ModelError(
            f"{label}: not a valid ONNX model: {_first_line(e)}", "export the model again"
        ) from e


def _check_operators(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        if node.domain not in _MAIN_DOMAINS:
            raise UnsupportedError(
                f"node '{node.name or ','.join(node.output)}': "
                f"operator '{node.op_type}' of domain '{node.domain}' is not supported",
                "replace it by standard ONNX operators",
            )


def opset(proto: onnx.ModelProto) -> int | None:
    """Version of the default operator set."""
    return next((int(o.version) for o in proto.opset_import if o.domain in _MAIN_DOMAINS), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def to_array(tensor: TensorProto) -> Array:
    """The initializer's values; raises ModelError naming it."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as e:  # the helper raises many kinds for data that do not fit the type
        reason = f"initializer '{tensor.name}' is damaged: {_first_line(e)}"
        raise ModelError(reason, "export the model again") from e


def static_shape(value: onnx.ValueInfoProto, what: str) -> tuple[int, ...]:
    """The shape of the model's input with a symbolic batch as 1; other dimensions must be known."""
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape"):
        raise UnsupportedError(f"{what} '{value.name}' has no known shape", "export with a fixed input shape")
    shape: list[int] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(int(dim.dim_value))
        elif dim.HasField("dim_value") and (dim.dim_value == 0 or axis > 0):
            raise ModelError(
                f"{what} '{value.name}': axis {axis} has length {dim.dim_value}", "correct the model"
            )
        elif axis == 0:
            shape.append(1)
        else:
            raise UnsupportedError(
                f"{what} '{value.name}': axis {axis} ('{dim.dim_param}') has no fixed length",
                "export with a fixed input shape; only the batch, axis 0, may be symbolic",
            )
    return tuple(shape)


def sole_input(proto: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The one input that is not an initializer; must be float32."""
    given = {t.name for t in proto.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in proto.graph.input if value.name not in given]
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs) or "none"
        raise UnsupportedError(
            f"the model has {len(inputs)} inputs ({names})", "give it one input; make the others initializers"
        )
    _expect_float(inputs[0], "input")
    return inputs[0]


def sole_output(proto: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The one output; must be float32."""
    outputs: list[onnx.ValueInfoProto] = list(proto.graph.output)
    if len(outputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in outputs) or "none"
        raise UnsupportedError(
            f"the model has {len(outputs)} outputs ({names})",
            "cut it down to one, for example with onnx.utils.extract_model",
        )
    _expect_float(outputs[0], "output")
    return outputs[0]


def _expect_float(value: onnx.ValueInfoProto, what: str) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        known = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
        raise UnsupportedError(
            f"{what} '{value.name}' has element type {known}, not FLOAT", "export the model in float32"
        )
