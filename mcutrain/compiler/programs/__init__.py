"""Which Programs a build contains, as graphs that are not yet placed in memory.

infer            input → output
evaluate         input, label|target → loss, output
train_step       input, label|target → loss; adds to the gradient accumulators
zero_gradients   clears the accumulators: the start of a batch, unless apply has left them so
apply            hyper = [lr, momentum, weight decay, 1/batch]: the optimizer step
statistics       sums of squares of every trained parameter and its accumulator

A batch is one ``train_step`` a sample, then ``apply``, which clears the accumulators.  With
immediate updates there is no batch: ``train_step`` takes ``hyper`` and does all.  Those for
unlearning are described in :mod:`mcutrain.compiler.programs.unlearning`.
"""

from __future__ import annotations

from mcutrain.compiler.passes.fuse import fuse_relu_and_bias_gradient
from mcutrain.compiler.passes.immediate import round_on_reading
from mcutrain.compiler.passes.precision import f16_parameters, mixed
from mcutrain.compiler.passes.together import can_join, join_rounding, join_updates
from mcutrain.compiler.passes.untransposed import without_transposition
from mcutrain.compiler.programs import training, unlearning
from mcutrain.compiler.programs.training import trained_parameters
from mcutrain.errors import OptionError
from mcutrain.ir import Graph, prune, verify
from mcutrain.manifest import Options

__all__ = ["build_programs", "trained_parameters"]


def build_programs(
    graph: Graph, options: Options, *, tiled: bool = False, round_together: bool = False
) -> list[Graph]:
    """Lower the forward graph to the Programs of a build, in a fixed order.

    Args:
        graph: the forward graph.
        options: of the build.
        tiled: whether the target has tiled kernels, which take weights untransposed.
        round_together: round all parameters at the start of a Program; their copies live to its end.
    """
    trained = trained_parameters(graph, options.train) if options.loss else []
    if options.loss and not trained:
        raise OptionError("the model has no weights to train", "compile it without --loss to infer only")
    programs = [training.renamed(graph, "infer")]
    if options.loss:
        programs.append(training.with_loss(graph, options, "evaluate", gradient=False)[0])
    if options.loss and options.immediate:
        programs.append(training.immediate_step(graph, options, trained))
    elif options.loss:
        programs += [
            training.train_step(graph, options, trained),
            training.zero_gradients(graph, trained),
            training.apply(graph, trained, options),
            training.statistics(graph, trained),
        ]
    programs += unlearning.steps(graph, options, trained)
    halved = f16_parameters(graph, trained) if options.precision == "mixed" else set()
    lowered = {}
    for program in programs:
        if options.precision == "mixed":
            program = without_transposition(program) if tiled and not options.immediate else program
            program = mixed(program, halved, keep_copies=round_together)
        program = round_on_reading(program) if options.immediate else program
        program = fuse_relu_and_bias_gradient(program)
        program = join_updates(program) if can_join(options) else program
        program = join_rounding(program, trained) if round_together else program
        program = prune(program, keep=program.inputs)
        verify(program)
        lowered[program.name] = program
    return [*lowered.values(), *unlearning.on_state(graph, lowered, options, trained)]
