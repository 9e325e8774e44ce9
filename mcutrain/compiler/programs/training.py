"""Inference and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from mcutrain.compiler.autodiff import accumulator, append, differentiate
from mcutrain.compiler.passes.immediate import update_immediately
from mcutrain.errors import OptionError
from mcutrain.ir import Graph, Tensor, prune
from mcutrain.manifest import Options

#: First loss scale of a mixed-precision build; it adapts from there.
INITIAL_LOSS_SCALE = 1024.0

_HYPER = Tensor("hyper", (4,), "f32", "input")


def trained_parameters(graph: Graph, globs: Sequence[str]) -> list[str]:
    """Parameters whose layer, ONNX node or initializer matches one of ``globs`` (all without globs).

    Raises OptionError for a glob that matches nothing, with the names there are.
    """
    names: dict[str, set[str]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            if name and graph.tensors[name].kind == "parameter":
                tensor = graph.tensors[name]
                known = names.setdefault(name, {name, name.rpartition(".")[0] or name})
                known.update(n for n in (node.name, node.source) if n)
                if tensor.origin:
                    known.add(tensor.origin.initializer)
    for glob in globs:
        if not any(fnmatchcase(n, glob) for known in names.values() for n in known):
            layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
            raise OptionError(f"--train '{glob}' matches no layer with weights", f"the layers are {layers}")
    return [
        name
        for name, known in names.items()
        if not globs or any(fnmatchcase(n, glob) for n in known for glob in globs)
    ]


def renamed(graph: Graph, name: str) -> Graph:
    copy = graph.copy()
    copy.name = name
    return copy


def _logits(graph: Graph, loss: str) -> str:
    """The tensor the loss looks at; a final softmax belongs to cross-entropy."""
    output = graph.outputs[0]
    producer = graph.producers().get(output)
    while loss == "cross-entropy" and producer is not None and producer.op == "Reshape":
        below = graph.producers().get(producer.inputs[0])
        if below is None or below.op not in ("Softmax", "LogSoftmax", "Reshape"):
            break
        producer = below
    if loss == "cross-entropy" and producer is not None and producer.op in ("Softmax", "LogSoftmax"):
        rank = len(graph.tensors[producer.inputs[0]].shape)
        if producer.attrs.get("axis", -1) % rank == rank - 1:
            return producer.inputs[0]
    return output


def with_loss(graph: Graph, options: Options, name: str, *, gradient: bool) -> tuple[Graph, str, str]:
    """A copy ending in the loss node; also the logits' name and, with ``gradient``, their gradient's."""
    loss = options.loss or ""
    program = renamed(graph, name)
    prediction = _logits(graph, loss)
    tensor = program.tensors[prediction]
    loss_input = prediction
    if loss == "cross-entropy":
        if len(tensor.shape) > 2 and tensor.size != tensor.shape[0] * max(tensor.shape[1:]):
            raise OptionError(
                f"cross-entropy needs one score per class, the model's output has shape {list(tensor.shape)}",
                "use --loss mse, or a model that ends in a vector of scores",
            )
        rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
        classes = tensor.size // rows
        if tensor.shape != (rows, classes):
            (loss_input,) = append(
                program, "Reshape", [prediction], {"shape": (rows, classes)}, name="loss.scores"
            )
        target = program.add_tensor(Tensor("label", (rows,), "i32", "input"))
    else:
        target = program.add_tensor(Tensor("target", tensor.shape, "f32", "input"))
    op = "CrossEntropy" if loss == "cross-entropy" else "MeanSquaredError"
    program.inputs.append(target.name)
    seed = ""
    if gradient:
        scale = loss_scale(program, options)
        seed = program.unique_name(f"{loss_input}.gradient")
        append(program, op, [loss_input, target.name, scale], name="loss", outputs=["loss", seed])
    else:
        append(program, f"{op}Loss", [loss_input, target.name], name="loss", outputs=["loss"])
    program.outputs = ["loss"] if gradient else ["loss", *graph.outputs]
    return program, loss_input, seed


def train_step(graph: Graph, options: Options, trained: list[str]) -> Graph:
    program, prediction, seed = with_loss(graph, options, "train_step", gradient=True)
    return backward(program, {prediction: seed}, trained)


def backward(program: Graph, seeds: Mapping[str, str], trained: list[str], losses: int = 1) -> Graph:
    """Append the backward pass to a Program whose last ``losses`` nodes make the gradients ``seeds``."""
    # The walk starts below what gives the gradients.
    below = program.copy()
    below.nodes = program.nodes[:-losses]
    full = differentiate(below, seeds, trained)
    program.tensors.update(full.tensors)
    program.nodes.extend(full.nodes[len(below.nodes) :])
    return prune(program)


def immediate_step(graph: Graph, options: Options, trained: list[str]) -> Graph:
    """train_step and apply in one, without accumulators."""
    program = train_step(graph, options, trained)
    scale, overflow = loss_scale(program, options), scalar(program, "overflow", 0)
    program = update_immediately(program, trained, _HYPER, scale, overflow)
    _count_step(program, options, scale, overflow)
    return prune(program)


def zero_gradients(graph: Graph, trained: list[str]) -> Graph:
    program = Graph("zero_gradients")
    for name in trained:
        program.tensors[name] = graph.tensors[name]
        acc = accumulator(program, name).name
        append(program, "Fill", [acc], {"value": 0.0}, name=f"{name}.zero", outputs=[acc])
    return program


def scalar(program: Graph, name: str, value: float | int) -> str:
    """A state tensor of one element with an initial value."""
    dtype = np.float32 if isinstance(value, float) else np.int32
    return program.add_tensor(
        Tensor(name, (1,), "f32" if isinstance(value, float) else "i32", "state", np.array([value], dtype))
    ).name


def loss_scale(program: Graph, options: Options) -> str:
    return scalar(program, "loss_scale", INITIAL_LOSS_SCALE if options.precision == "mixed" else 1.0)


def apply(graph: Graph, trained: list[str], options: Options) -> Graph:
    program = Graph("apply", inputs=[_HYPER.name], tensors={_HYPER.name: _HYPER})
    scale = loss_scale(program, options)
    overflow = scalar(program, "overflow", 0)
    for name in trained:
        program.tensors[name] = graph.tensors[name]
        acc = accumulator(program, name).name
        append(program, "FiniteCheck", [acc, overflow], name=f"{name}.check", outputs=[overflow])
    for name in trained:
        acc, outputs = accumulator(program, name).name, [name]
        momentum = ""
        if options.momentum:
            shape = graph.tensors[name].shape
            momentum = program.add_tensor(Tensor(f"{name}.momentum", shape, "f32", "state")).name
            outputs.append(momentum)
        outputs.append(acc)
        inputs = [name, acc, momentum, "hyper", scale, overflow]
        append(program, "Sgd", inputs, name=f"{name}.update", outputs=outputs)
    _count_step(program, options, scale, overflow)
    return program


def _count_step(program: Graph, options: Options, scale: str, overflow: str) -> None:
    """The end of an optimizer step: loss scaling and its counters."""
    counters = [scale, overflow, scalar(program, "good_steps", 0), scalar(program, "skipped_steps", 0)]
    fixed = {} if options.precision == "mixed" else {"min": 1.0, "max": 1.0}
    append(program, "LossScaleUpdate", counters, fixed, name="loss_scale.update", outputs=counters)


def statistics(graph: Graph, trained: list[str]) -> Graph:
    program = Graph("statistics")
    for name in trained:
        program.tensors[name] = graph.tensors[name]
        acc = accumulator(program, name).name
        for tensor, what in ((acc, "gradient_squares"), (name, "weight_squares")):
            program.outputs += append(program, "SumSquares", [tensor], name=f"{name}.{what}")
    return program
