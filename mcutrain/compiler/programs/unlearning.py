"""Programs of the unlearning methods a build carries (``Options.unlearn``).

========================  ==================================================
method                    Programs
========================  ==================================================
``ssd``                   importance
``gradient``              unlearn_step, importance
``distill``               unlearn_step
``sparse-finetune``       unlearn_step
``rollback``              none: it trains again
========================  ==================================================

importance       as train_step, on the square of each sample's gradient: accumulator += g², where g
                 carries the loss scale
unlearn_step     as train_step with a loss that the host chooses, see
                 :class:`~mcutrain.ops.unlearning_loss.UnlearningLoss`; inputs label|target,
                 reference_scores f32 (of the scores' shape; classification only), unlearn_switch f32[8]

``gradient+projection`` and ``gradient+mask`` include ``gradient``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mcutrain.compiler.autodiff import append
from mcutrain.compiler.programs import training
from mcutrain.errors import OptionError
from mcutrain.ir import Graph, Tensor, prune, verify
from mcutrain.manifest import Options

#: Methods whose recipe takes steps with a loss of its own.
STEPPING = frozenset({"gradient", "gradient+projection", "gradient+mask", "distill", "sparse-finetune"})
#: Methods that look at importances.
WEIGHING = frozenset({"ssd", "gradient", "gradient+projection", "gradient+mask"})


def steps(graph: Graph, options: Options, trained: list[str]) -> list[Graph]:
    """Programs with a forward and a backward pass, before their precision is lowered."""
    return [_unlearn_step(graph, options, trained)] if STEPPING & set(options.unlearn) else []


def on_state(
    graph: Graph, lowered: Mapping[str, Graph], options: Options, trained: Collection[str]
) -> list[Graph]:
    """Programs on the lowered ones' tensors."""
    methods = set(options.unlearn)
    programs = []
    if WEIGHING & methods:
        rows = graph.tensors[graph.inputs[0]].shape[0]
        if "ssd" in methods and rows > 1:
            raise OptionError(
                f"ssd squares the gradients of single samples, the model takes {rows} at a time",
                "export the model with a batch of one",
            )
        programs.append(_importance(lowered["train_step"], trained))
    for program in programs:
        verify(program)
    return programs


def _unlearn_step(graph: Graph, options: Options, trained: list[str]) -> Graph:
    program, prediction, seed = training.with_loss(graph, options, "unlearn_step", gradient=True)
    loss = program.nodes.pop()
    _, target, scale = loss.inputs
    references = []
    if options.loss == "cross-entropy":
        scores = program.tensors[prediction]
        references = [program.add_tensor(Tensor("reference_scores", scores.shape, "f32", "input")).name]
    switch = program.add_tensor(Tensor("unlearn_switch", (8,), "f32", "input")).name
    program.inputs += [*references, switch]
    op = "UnlearningLoss" if options.loss == "cross-entropy" else "UnlearningRegressionLoss"
    append(program, op, [prediction, target, *references, switch, scale], name="loss", outputs=["loss", seed])
    return training.backward(program, prediction, seed, trained)


def _importance(train_step: Graph, trained: Collection[str]) -> Graph:
    """The training step with each gradient in a tensor of its own, whose squares are accumulated."""
    program = train_step.copy()
    program.name = "importance"
    accumulators = {f"{name}.gradient" for name in trained}
    last = {name: i for i, node in enumerate(train_step.nodes) for name in node.outputs}
    program.nodes = []
    for index, node in enumerate(train_step.nodes):
        used = accumulators.intersection(node.outputs)
        apart = {name: f"{name}.sample" for name in used}
        for name, own in apart.items():
            if own not in program.tensors:
                attrs = {"shape": program.tensors[name].shape, "dtype": "f32"}
                append(program, "Fill", [], attrs, name=f"{name}.zero", outputs=[own])
        program.nodes.append(node.renamed(apart))
        for name, own in apart.items():
            if last[name] == index:
                append(program, "AddSquares", [name, own], name=f"{name}.square", outputs=[name])
    return prune(program, keep=program.inputs)
