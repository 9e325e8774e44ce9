"""Programs of the unlearning methods a build carries (``Options.unlearn``).

=========================  ======================================================================
method                     Programs
=========================  ======================================================================
``ssd``                    importance, store_importance, dampen, retain_importance
``sparse-finetune``        unlearn_step, shrink, prune
``distill``                unlearn_step, for a regression also attention
``gradient``               unlearn_step, importance
``gradient+projection``    those of gradient, hold_gradient, project_gradient
``gradient+mask``          those of gradient, select_mask, masked_apply
``analytic-head``          head_features, gram_learn, gram_forget, head_solve, see
                           :mod:`mcutrain.compiler.programs.head`
``rollback``               none: it trains again
=========================  ======================================================================

Of each trained parameter p there are, where its method is carried, the states ``p.importance`` u8,
``p.held`` f32 and ``p.mask`` u8 of its shape; acc is its gradient accumulator, which carries the loss scale.

importance         as train_step, on the square of each sample's gradient: acc += g². The kernel that makes a
                   gradient squares it, and it is nowhere as a whole; only one that several nodes make, as
                   of a weight that layers share, has a tensor of its own, ``p.gradient.sample``
store_importance   importance_factor f32[1]: p.importance = quarter octaves of acc · factor
dampen             dampening f32[3] = [alpha, lambda, factor] → selected i32[1], the weights that changed
retain_importance  retention f32[3] = [N, n, factor]: p.importance without the n of N samples
unlearn_step       as train_step with a loss that the host chooses, see
                   :mod:`mcutrain.ops.unlearning_loss`; inputs label|target, reference_scores f32 (of the
                   scores' shape; classification only), unlearn_switch f32[8]; of a regression with distill
                   also reference_attention f32[N, P], and element 5 of the switch weighs the squared
                   difference of the attention maps → attention_loss f32[1]
attention          input → attention f32[N, P], energies of the activations below the last layer, a
                   reference_attention for another network (see :mod:`mcutrain.ops.attention`)
hold_gradient      p.held = acc
project_gradient   acc -= (⟨acc, held⟩ / ‖held‖²) held for each parameter with ⟨acc, held⟩ < 0
select_mask        mask_rule f32[2] = [kind, threshold] → selected i32[1], the weights whose mask is one:
                   |acc| > threshold (kind 0) or |p · acc| > threshold (kind 1)
masked_apply       apply, in which weights whose mask is zero stay
shrink             threshold f32[1]: p = sign(p) max(|p| - threshold, 0)
prune              threshold f32[1] → selected i32[1]: p = 0 where |p| < threshold, biases excepted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mcutrain.compiler.autodiff import append, requires_gradient
from mcutrain.compiler.programs import training
from mcutrain.compiler.programs.head import head_programs
from mcutrain.errors import OptionError
from mcutrain.ir import DType, Graph, Tensor, prune, verify
from mcutrain.manifest import Options
from mcutrain.numerics.portions import PORTIONS

#: Methods whose recipe takes steps with a loss of its own.
STEPPING = frozenset({"gradient", "gradient+projection", "gradient+mask", "distill", "sparse-finetune"})
#: Operators that can add a gradient's square in place of it.
SQUARING = frozenset(
    {
        "BiasGradient",
        "Conv2dWeightGradient",
        "DenseWeightGradient",
        "DepthwiseConv2dWeightGradient",
        "ReluBiasGradient",
    }
)
#: Methods that look at importances.
WEIGHING = frozenset({"ssd", "gradient", "gradient+projection", "gradient+mask"})


def steps(graph: Graph, options: Options, trained: list[str]) -> list[Graph]:
    """Programs with a forward and a backward pass, before their precision is lowered."""
    methods = set(options.unlearn)
    if not STEPPING & methods:
        return []
    watched = _watched(graph, trained) if "distill" in methods and options.loss == "mse" else ""
    programs = [_unlearn_step(graph, options, trained, watched)]
    if watched:
        program = training.renamed(graph, "attention")
        program.outputs = append(
            program, "AttentionEnergy", [watched], name="attention", outputs=["attention"]
        )
        programs.append(program)
    return programs


def on_state(
    graph: Graph, lowered: Mapping[str, Graph], options: Options, trained: Collection[str]
) -> list[Graph]:
    """Programs on the lowered ones' tensors."""
    methods = set(options.unlearn)
    parameters = [graph.tensors[name] for name in trained]
    programs = []
    if WEIGHING & methods:
        rows = graph.tensors[graph.inputs[0]].shape[0]
        if "ssd" in methods and rows > 1:
            raise OptionError(
                f"ssd squares the gradients of single samples, the model takes {rows} at a time",
                "export the model with a batch of one",
            )
        programs.append(_importance(lowered["train_step"], trained))
    if "ssd" in methods:
        programs += [_store_importance(parameters), _dampen(parameters), _retain_importance(parameters)]
    if "gradient+projection" in methods:
        programs += [_hold_gradient(parameters), _project_gradient(parameters)]
    if "gradient+mask" in methods:
        programs += [_select_mask(parameters), _masked_apply(lowered["apply"], parameters)]
    if "sparse-finetune" in methods:
        programs += [_shrink(parameters), _prune(parameters)]
    if "analytic-head" in methods:
        programs += head_programs(graph, lowered["infer"], options.loss)
    for program in programs:
        verify(program)
    return programs


def _watched(graph: Graph, trained: Collection[str]) -> str:
    """The activations below the last layer with weights, if training changes them, or the empty string."""
    for node in reversed(graph.nodes):
        if any(graph.tensors[name].kind == "parameter" for name in node.inputs if name):
            x = graph.tensors[node.inputs[0]]
            moves = x.kind == "activation" and x.name in requires_gradient(graph, trained)
            return x.name if moves and len(x.shape) in (2, 4) else ""
    return ""


def _unlearn_step(graph: Graph, options: Options, trained: list[str], watched: str) -> Graph:
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
    if not watched:
        return training.backward(program, {prediction: seed}, trained)
    (energy,) = append(program, "AttentionEnergy", [watched], name="attention.energy")
    reference = program.add_tensor(
        Tensor("reference_attention", program.tensors[energy].shape, "f32", "input")
    ).name
    program.inputs.append(reference)
    outputs = ["attention_loss", f"{energy}.gradient"]
    inputs = [energy, reference, switch, scale]
    append(program, "AttentionError", inputs, name="attention.error", outputs=outputs)
    (own,) = append(program, "AttentionGradient", [watched, outputs[1]], name="attention.gradient")
    program.outputs.append(outputs[0])
    return training.backward(program, {prediction: seed, watched: own}, trained, losses=4)


def _importance(train_step: Graph, trained: Collection[str]) -> Graph:
    """The training step, in which gradients are squared by the only node that makes them.

    One that several nodes make is collected in a tensor of its own, whose squares are accumulated.
    """
    program = train_step.copy()
    program.name = "importance"
    accumulators = {f"{name}.gradient" for name in trained}
    makers = Counter(name for node in train_step.nodes for name in node.outputs)
    last = {name: i for i, node in enumerate(train_step.nodes) for name in node.outputs}
    program.nodes = []
    for index, node in enumerate(train_step.nodes):
        used = accumulators.intersection(node.outputs)
        if used and node.op in SQUARING and all(makers[name] == 1 for name in used):
            program.nodes.append(node.with_attrs(squares=True))
            continue
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


def _own(program: Graph, parameter: Tensor, what: str, dtype: DType) -> str:
    """State ``<parameter>.<what>`` of the parameter's shape."""
    return program.add_tensor(Tensor(f"{parameter.name}.{what}", parameter.shape, dtype, "state")).name


def _settings(name: str, setting: str, size: int) -> Graph:
    """A Program that the host gives one f32 vector."""
    program = Graph(name, inputs=[setting])
    program.add_tensor(Tensor(setting, (size,), "f32", "input"))
    return program


def _counts(program: Graph) -> str:
    """Cleared counts of something in each portion of the elements."""
    return append(program, "Fill", [], {"shape": (PORTIONS,), "dtype": "i32"}, name="counts")[0]


def _total(program: Graph, counts: str) -> None:
    program.outputs = append(program, "CountTotal", [counts], name="selected", outputs=["selected"])


def _store_importance(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("store_importance", "importance_factor", 1)
    for p in parameters:
        acc, own = _own(program, p, "gradient", "f32"), _own(program, p, "importance", "u8")
        append(program, "StoreImportance", [acc, program.inputs[0]], name=f"{p.name}.store", outputs=[own])
    return program


def _dampen(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("dampen", "dampening", 3)
    counts = _counts(program)
    for p in parameters:
        program.add_tensor(p)
        acc, own = _own(program, p, "gradient", "f32"), _own(program, p, "importance", "u8")
        inputs = [p.name, acc, own, program.inputs[0], counts]
        append(program, "Dampen", inputs, name=f"{p.name}.dampen", outputs=[p.name, counts])
    _total(program, counts)
    return program


def _retain_importance(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("retain_importance", "retention", 3)
    for p in parameters:
        acc, own = _own(program, p, "gradient", "f32"), _own(program, p, "importance", "u8")
        inputs = [own, acc, program.inputs[0]]
        append(program, "RetainImportance", inputs, name=f"{p.name}.retain", outputs=[own])
    return program


def _hold_gradient(parameters: Sequence[Tensor]) -> Graph:
    program = Graph("hold_gradient")
    for p in parameters:
        acc, held = _own(program, p, "gradient", "f32"), _own(program, p, "held", "f32")
        append(program, "Cast", [acc], {"dtype": "f32"}, name=f"{p.name}.hold", outputs=[held])
    return program


def _project_gradient(parameters: Sequence[Tensor]) -> Graph:
    program = Graph("project_gradient")
    for p in parameters:
        acc, held = _own(program, p, "gradient", "f32"), _own(program, p, "held", "f32")
        (dots,) = append(program, "DotPortions", [acc, held], name=f"{p.name}.dot")
        (squares,) = append(program, "DotPortions", [held, held], name=f"{p.name}.squares")
        append(program, "Project", [acc, held, dots, squares], name=f"{p.name}.project", outputs=[acc])
    return program


def _select_mask(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("select_mask", "mask_rule", 2)
    counts = _counts(program)
    for p in parameters:
        program.add_tensor(p)
        acc, mask = _own(program, p, "gradient", "f32"), _own(program, p, "mask", "u8")
        inputs = [p.name, acc, program.inputs[0], counts]
        append(program, "SelectMask", inputs, name=f"{p.name}.select", outputs=[mask, counts])
    _total(program, counts)
    return program


def _masked_apply(apply: Graph, parameters: Sequence[Tensor]) -> Graph:
    program = apply.copy()
    program.name = "masked_apply"
    masks = {p.name: _own(program, p, "mask", "u8") for p in parameters}
    program.nodes = [
        replace(node, op="MaskedSgd", inputs=(*node.inputs, masks[node.inputs[0]]))
        if node.op == "Sgd"
        else node
        for node in apply.nodes
    ]
    return program


def _shrink(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("shrink", "threshold", 1)
    for p in parameters:
        program.add_tensor(p)
        append(program, "Shrink", [p.name, "threshold"], name=f"{p.name}.shrink", outputs=[p.name])
    return program


def _prune(parameters: Sequence[Tensor]) -> Graph:
    program = _settings("prune", "threshold", 1)
    counts = _counts(program)
    for p in parameters:
        if len(p.shape) > 1:
            program.add_tensor(p)
            inputs = [p.name, "threshold", counts]
            append(program, "Prune", inputs, name=f"{p.name}.prune", outputs=[p.name, counts])
    _total(program, counts)
    return program
