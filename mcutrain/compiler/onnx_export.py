"""Writing the trained model: the input model, except for the initializers that were trained."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mcutrain.compiler.onnx_import.naming import fresh
from mcutrain.errors import DataError, ModelError
from mcutrain.files import write_whole
from mcutrain.ir import Array

if TYPE_CHECKING:
    from mcutrain.compiler.onnx_io import ImportedModel
    from mcutrain.compiler.passes.fold import FoldedBatchNorm

#: metadata_props keys: names of the written initializers, and of the nodes folded into them.
TRAINED_KEY = "mcutrain.trained"
FOLDED_KEY = "mcutrain.folded_batch_normalizations"


def save_model(imported: ImportedModel, weights: Mapping[str, Array], path: str | os.PathLike[str]) -> None:
    """Write the model with these initializers replaced.

    ``weights``: values by ONNX initializer name in the ONNX model's own layout,
    as ``Tensor.origin`` of the parameters gives them; names left out stay as
    they are.  A weight that a node computed (DequantizeLinear, Constant) becomes
    an initializer in that node's place.  Where a batch normalization was folded
    into a weight or bias given here, the node is removed and both hold the
    folded values; ``metadata_props`` lists what was done.
    The file appears complete or not at all.

    Raises DataError for a name, shape or value that does not fit, ModelError
    when the file cannot be written.
    """
    proto = with_weights(imported, weights)
    content = proto.SerializeToString(deterministic=True)
    target = Path(path)
    try:
        write_whole(target, content)
    except OSError as e:
        raise ModelError(f"{target}: cannot be written ({e.strerror or e})", "choose another path") from e


def with_weights(imported: ImportedModel, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The model that :func:`save_model` writes."""
    values = _checked(imported, weights)
    edit = _Edit(imported.proto)
    folds = [f for f in imported.folded if f.weight in values or f.bias in values]
    for fold in folds:
        values.setdefault(fold.weight, fold.weight_data)
        values.setdefault(fold.bias, fold.bias_data)
        edit.fold(fold)
    for name, array in values.items():
        edit.set_initializer(name, array)
    edit.drop_unused()
    _record(edit.proto, TRAINED_KEY, list(values))
    _record(edit.proto, FOLDED_KEY, [f.node for f in folds])
    onnx.checker.check_model(edit.proto)
    return edit.proto


def _checked(imported: ImportedModel, weights: Mapping[str, Array]) -> dict[str, Array]:
    shapes = {t.origin.initializer: t.origin.shape for t in imported.parameters if t.origin is not None}
    values: dict[str, Array] = {}
    for name, value in weights.items():
        if name not in shapes:
            raise DataError(
                f"'{name}' is not a trainable initializer of the model", f"known are {', '.join(shapes)}"
            )
        array = np.ascontiguousarray(value, np.float32)
        if array.shape != shapes[name]:
            raise DataError(
                f"'{name}' has shape {array.shape}, the model's is {shapes[name]}", "pass the ONNX layout"
            )
        if not np.all(np.isfinite(array)):
            raise DataError(
                f"'{name}' has elements that are NaN or infinite",
                "keep the weights from before training diverged",
            )
        values[name] = array
    return values


def _record(proto: onnx.ModelProto, key: str, names: list[str]) -> None:
    entry = next((p for p in proto.metadata_props if p.key == key), None)
    if not names:
        return
    if entry is None:
        entry = proto.metadata_props.add(key=key)
    entry.value = json.dumps(names)


class _Edit:
    """A copy of a model under change."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(proto)
        self.graph = self.proto.graph
        self.unused_before = self._unused()

    def set_initializer(self, name: str, array: Array) -> None:
        """Replace the initializer, or the node output, of this name, or add it."""
        tensor = numpy_helper.from_array(array, name)
        for known in self.graph.initializer:
            if known.name == name:
                known.CopyFrom(tensor)
                return
        for node in self.graph.node:
            node.output[:] = [self._fresh(f"{o}_unused") if o == name else o for o in node.output]
        self.graph.initializer.append(tensor)
        if self.proto.ir_version < 4:  # initializers had to be inputs too
            self.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))

    def fold(self, fold: FoldedBatchNorm) -> None:
        """Remove the normalization and let the layer before it have the bias."""
        norm = self._producer(fold.output)
        layer = self._layer_before(norm)
        if layer.op_type == "MatMul":
            if fold.bias not in self._names():
                self._add_after(layer, fold.bias)
        elif len(layer.input) < 3 or layer.input[2] == "":
            layer.input[:] = [*layer.input[:2], fold.bias]
        self.graph.node.remove(norm)
        self._rename(norm.input[0], norm.output[0])

    def drop_unused(self) -> None:
        """Drop nodes and initializers that this edit left without a reader."""
        while unused := self._unused() - self.unused_before:
            nodes = [n for n in self.graph.node if set(n.output) - {""} <= unused]
            for node in nodes:
                self.graph.node.remove(node)
            tensors = [t for t in self.graph.initializer if t.name in unused]
            for tensor in tensors:
                self.graph.initializer.remove(tensor)
            for value in [v for v in self.graph.input if v.name in {t.name for t in tensors}]:
                self.graph.input.remove(value)
            if not nodes and not tensors:
                break
        known = self._names()
        for value in [v for v in self.graph.value_info if v.name not in known]:
            self.graph.value_info.remove(value)

    def _producer(self, name: str) -> onnx.NodeProto:
        node: onnx.NodeProto = next(n for n in self.graph.node if name in n.output)
        return node

    def _layer_before(self, norm: onnx.NodeProto) -> onnx.NodeProto:
        """The convolution or product whose result reaches ``norm`` through views and its bias."""
        node = norm
        made = {o for n in self.graph.node for o in n.output}
        while node is norm or node.op_type not in ("Conv", "Gemm", "MatMul"):
            node = self._producer(next(i for i in node.input if i in made))
        return node

    def _add_after(self, layer: onnx.NodeProto, bias: str) -> None:
        result = layer.output[0]
        layer.output[0] = self._fresh(f"{result}_product")
        add = helper.make_node("Add", [layer.output[0], bias], [result], name=f"{layer.name or result}_bias")
        index = list(self.graph.node).index(layer)
        self.graph.node.insert(index + 1, add)

    def _rename(self, old: str, new: str) -> None:
        for node in self.graph.node:
            node.input[:] = [new if i == old else i for i in node.input]
            node.output[:] = [new if o == old else o for o in node.output]

    def _names(self) -> set[str]:
        return {t.name for t in self.graph.initializer} | set(_names_in(self.graph.node))

    def _fresh(self, stem: str) -> str:
        return fresh(stem, self._names())

    def _unused(self) -> set[str]:
        reads = Counter(i for node in self.graph.node for i in node.input)
        reads.update(value.name for value in self.graph.output)
        made = {o for node in self.graph.node for o in node.output if o} | {
            t.name for t in self.graph.initializer
        }
        return {name for name in made if not reads[name]}


def _names_in(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    for node in nodes:
        yield from node.input
        yield from node.output
