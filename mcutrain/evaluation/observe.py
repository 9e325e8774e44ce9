"""What the measures need of a model, read through its Executor: logits, features, layers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcutrain.errors import OptionError
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.manifest import CallEntry

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its name, the call that computes it, and the tensor of its output."""

    name: str
    call: int
    tensor: str


class Observer:
    """Reads activations of Program ``infer`` call by call: they are only there right after their call."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._manifest = learner.manifest
        program = self._manifest.program("infer")
        self._calls = program.calls
        #: what is a weight, or made of nothing but one (its FP16 copy), by the weight's name
        self._weights = {t.name: t.name for t in self._manifest.parameters()}
        wide = {t.name for t in self._manifest.parameters() if len(t.shape) > 1}
        layers = []
        for number, call in enumerate(self._calls):
            known = [self._weights[name] for name in call.inputs if name in self._weights]
            if known and len(known) == len([name for name in call.inputs if name]):
                self._weights.update(dict.fromkeys(call.outputs, known[0]))
            elif wide & set(known):
                layers.append((number, next(name for name in known if name in wide)))
        if not layers:
            raise OptionError(
                f"build '{self._manifest.name}' has no layer with weights", "there is nothing to forget"
            )
        #: every layer with weights in order; the last is the classifier
        self.layers = [Layer(self._calls[i].node, i, self._calls[i].outputs[0]) for i, _ in layers]
        head, self.classifier = layers[-1]
        self._input = self._manifest.tensor(program.inputs[0])
        self._rows = self._input.shape[0] if len(self._input.shape) > 1 else 1
        last = len(self._calls) - 1
        softmax = _is_softmax(self._calls[last])
        self._logits = self._before(last) if softmax else (last, self._calls[last].outputs[0])
        self._features = self._before(head)

    def _before(self, call: int) -> tuple[int, str]:
        """The call whose output the activation input of ``call`` is, through views, and that tensor."""
        persistent = {t.name for t in self._manifest.tensors}
        inputs = self._calls[call].inputs
        wanted = next((n for n in inputs if n and n not in persistent and n not in self._weights), "")
        for number in range(call - 1, -1, -1):
            if wanted in self._calls[number].outputs:
                return number, wanted
        # A view has no call of its own: it looks at what the last call but weights' copies computed.
        for number in range(call - 1, -1, -1):
            if not set(self._calls[number].outputs) & set(self._weights):
                return number, self._calls[number].outputs[0]
        return -1, self._input.name

    def outputs(self, x: Array) -> tuple[Floats, Floats]:
        """Logits ``[n, C]`` and the last hidden layer ``[n, d]`` of samples ``[n, …]``."""
        features, logits = self._read(x, [self._features, self._logits])
        return logits, features

    def activations(self, x: Array) -> dict[str, Floats]:
        """The output of every layer with weights, after its activation, ``{layer: [n, d]}``."""
        found = self._read(x, [(layer.call, layer.tensor) for layer in self.layers])
        return {layer.name: value for layer, value in zip(self.layers, found, strict=True)}

    def _read(self, x: Array, wanted: Sequence[tuple[int, str]]) -> list[Floats]:
        samples = np.asarray(x, np.float32)
        dtype = np.float16 if self._input.dtype == "f16" else np.float32
        pieces: list[list[Floats]] = [[] for _ in wanted]
        for start in range(0, len(samples), self._rows):
            rows = samples[start : start + self._rows]
            if len(rows) < self._rows:
                rows = np.concatenate([rows, np.repeat(rows[-1:], self._rows - len(rows), axis=0)])
            inputs = {self._input.name: np.ascontiguousarray(rows.astype(dtype).reshape(self._input.shape))}
            at = 0
            for piece, (call, tensor) in zip(pieces, wanted, strict=True):
                if call < 0:
                    got = inputs or {tensor: rows}
                else:
                    got = self._learner.executor.run("infer", inputs, [tensor], (at, call + 1))
                    inputs, at = {}, call + 1
                piece.append(got[tensor].astype(np.float32).reshape(self._rows, -1))
        return [np.concatenate(piece)[: len(samples)] for piece in pieces]


def read_parameters(learner: Learner) -> dict[str, Array]:
    """All parameters, frozen ones too, as ``Learner.load`` takes them: float32 by ONNX name and layout."""
    entries = [t for t in learner.manifest.parameters() if t.origin is not None]
    got = learner.executor.read([t.name for t in entries])
    return {
        t.origin.initializer: np.ascontiguousarray(t.origin.to_onnx(got[t.name].astype(np.float32)))
        for t in entries
        if t.origin is not None
    }


def weights_hash(weights: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and bits of all weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], np.float32)
        digest.update(f"{name}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _is_softmax(call: CallEntry) -> bool:
    return call.op in ("Softmax", "LogSoftmax")
