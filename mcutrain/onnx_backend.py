"""ONNX's own backend interface, so that ONNX's own test suite can run our operators.

``prepare`` imports a model as :func:`mcutrain.compile` does and runs it with
the NumPy reference, which defines the bits of every other backend.  A device
model has one input; the suite's cases also give weights, shapes and limits as
inputs, so all but the first floating-point input are taken in as initializers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep

from mcutrain.compiler.onnx_import import reader
from mcutrain.compiler.onnx_io import load_model
from mcutrain.errors import DataError, UnsupportedError
from mcutrain.ir import Array
from mcutrain.reference import run_graph

#: Operators whose versions after our newest operator set only add element types.
_UNCHANGED = frozenset(
    {
        *("Constant", "DequantizeLinear", "Flatten", "Identity", "Pad"),
        *("Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    }
)


class PreparedModel(BackendRep):
    """A model ready to run; operands are fixed with each run."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        given = {t.name for t in proto.graph.initializer}
        self.proto = proto
        self.names = [value.name for value in proto.graph.input if value.name not in given]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs for ``inputs``, by name or in the model's order."""
        if isinstance(inputs, Mapping):
            values = {name: np.asarray(value) for name, value in inputs.items()}
        elif isinstance(inputs, np.ndarray):
            values = {self.names[0]: inputs}
        else:
            values = {name: np.asarray(value) for name, value in zip(self.names, inputs, strict=False)}
        if set(values) != set(self.names):
            raise DataError(
                f"the inputs are {', '.join(self.names)}, given are {', '.join(values)}", "give each"
            )
        proto, x = _with_one_input(self.proto, values)
        return (run_graph(load_model(proto).graph, {"input": x})["output"],)


class McutrainBackend(Backend):
    """The compiler's operators, on device ``CPU`` through the NumPy reference."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """Check and, where its inputs allow, import the model; raises as :func:`load_model` does."""
        if not cls.supports_device(device):
            raise UnsupportedError(f"there is no device '{device}'", "use CPU")
        prepared = PreparedModel(_with_known_opset(model))
        if len(prepared.names) == 1 and _is_float(prepared.proto, prepared.names[0]):
            load_model(prepared.proto)
        return prepared

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node alone, in our newest operator set unless ``opset_version`` says otherwise."""
        arrays = [np.asarray(value) for value in inputs]
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(filter(None, node.input), arrays, strict=True)
        ]
        shape = outputs_info[0][1] if outputs_info else ()
        result = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape)
        graph = helper.make_graph([node], "node", values, [result])
        opset = int(kwargs.get("opset_version", reader.NEWEST_OPSET))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return cls.run_model(model, arrays, device)


def _with_known_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, in our newest operator set if its operators are the same there."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for entry in proto.opset_import:
        newer = entry.domain in ("", "ai.onnx") and entry.version > reader.NEWEST_OPSET
        if newer and all(node.op_type in _UNCHANGED for node in proto.graph.node):
            entry.version = reader.NEWEST_OPSET
    return proto


def _is_float(proto: onnx.ModelProto, name: str) -> bool:
    (value,) = (v for v in proto.graph.input if v.name == name)
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _with_one_input(model: onnx.ModelProto, values: dict[str, Array]) -> tuple[onnx.ModelProto, Array]:
    """The model with all inputs but one as initializers, and that one's value.

    A model of constants alone gets an input of zeros that is added to its output.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    computed = {node.op_type for node in proto.graph.node} <= {"Constant", "DequantizeLinear"}
    free = [] if computed else [name for name in values if _is_float(proto, name)][:1]
    for value in [v for v in proto.graph.input if v.name in values and v.name not in free]:
        proto.graph.input.remove(value)
        proto.graph.initializer.append(numpy_helper.from_array(values[value.name], value.name))
    if free:
        return proto, values[free[0]]
    output = proto.graph.output[0]
    shape = reader.static_shape(output, "output")
    name = f"{output.name}_computed"
    for node in proto.graph.node:
        node.output[:] = [name if o == output.name else o for o in node.output]
    proto.graph.node.append(helper.make_node("Add", [name, "zeros"], [output.name]))
    proto.graph.input.append(helper.make_tensor_value_info("zeros", TensorProto.FLOAT, shape))
    return proto, np.zeros(shape, np.float32)


#: The names ONNX's tools look for in a backend module.
is_compatible = McutrainBackend.is_compatible
prepare = McutrainBackend.prepare
run = McutrainBackend.run_model
run_model = McutrainBackend.run_model
run_node = McutrainBackend.run_node
supports_device = McutrainBackend.supports_device
