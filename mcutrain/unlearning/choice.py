"""Programs with a loss that the host chooses: the inputs of ``unlearn_step``, and teachers for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcutrain.data import Samples
from mcutrain.executor import Array
from mcutrain.numerics import math as f32
from mcutrain.ops.softmax import softmax_terms
from mcutrain.unlearning.run import Run, Set

#: Modes of Program ``unlearn_step``.
CROSS_ENTROPY, ASCENT, NPO, INVERTED_HINGE, UNIFORM, DISTIL, PROBABILITIES, L1 = range(8)

Extra = Callable[[int], Mapping[str, Array]]


@dataclass(frozen=True)
class Source:
    """Samples of a set and the loss they are given: targets and further inputs of ``program``."""

    held: Set
    program: str = "train_step"
    extra: Extra | None = None
    targets: Array | Samples | None = None


def choice(
    run: Run,
    mode: int,
    weight: float = 1.0,
    *,
    beta: float = 0.0,
    log_p0: Array | None = None,
    temperature: float = 1.0,
    reference: Array | None = None,
    attention: Array | None = None,
    attention_weight: float = 0.0,
) -> Extra:
    """The inputs of ``unlearn_step`` that select a loss.

    ``log_p0`` [n], ``reference`` [n, classes] and ``attention`` [n, positions]
    (energies that Program ``attention`` gave) belong to the samples of the set
    it is used on.
    """
    rows, inputs = run.learner.rows, run.manifest.program("unlearn_step").inputs

    def extra(number: int) -> Mapping[str, Array]:
        own = float(log_p0[number * rows]) if log_p0 is not None else 0.0
        chosen = {
            "unlearn_switch": np.array(
                [mode, weight, beta, own, temperature, attention_weight, 0, 0], np.float32
            ),
        }
        if attention is not None:
            chosen["reference_attention"] = attention[number * rows : (number + 1) * rows]
        if reference is not None:
            entry = run.manifest.tensor("reference_scores")
            wanted = reference[number * rows : (number + 1) * rows]
            chosen["reference_scores"] = np.ascontiguousarray(wanted, np.float32).reshape(entry.shape)
        return {name: array for name, array in chosen.items() if name in inputs}

    return extra


def log_probabilities(run: Run, outputs: Array) -> Array:
    """Logarithms of the classes' probabilities, float32 [n, classes], of a classifier's outputs.

    The arithmetic is the device's own, so that every computer caches the same bits.
    """
    scores = outputs.reshape(len(outputs), -1).astype(np.float32)
    last = next((c.op for c in reversed(run.manifest.program("infer").calls) if "Softmax" in c.op), "")
    if last == "Softmax":
        # what FP16 rounded to zero is at most its smallest number
        scores = f32.log(np.maximum(scores, np.float32(2.0**-25)))
    shifted, total = softmax_terms(scores, 1)
    return np.asarray(shifted - f32.log(total), np.float32)


def descend(
    run: Run,
    sources: list[Source],
    order: np.random.Generator,
    *,
    lr: float,
    batch: int,
    momentum: float = 0.0,
    phase: str,
    progress: tuple[int, int],
) -> int:
    """One epoch over the batches of all ``sources`` mixed; returns the optimizer steps done so far.

    ``progress`` are the steps done before, and those of the whole method.
    """
    items = [(source, number) for source in sources for number in range(source.held.batches)]
    shuffled = order.permutation(len(items))
    done, total = progress
    for start in range(0, len(items), batch):
        chosen = [items[i] for i in shuffled[start : start + batch]]
        losses = []
        for position, (source, number) in enumerate(chosen):
            loss = run.accumulate(
                source.held,
                [number],
                targets=source.targets,
                program=source.program,
                extra=source.extra,
                clear=position == 0,
            )
            losses.append(loss)
        run.apply(lr, len(chosen), momentum=momentum)
        done += 1
        run.event(phase, done, total, f"loss {np.mean(losses):.4f}")
    return done
