"""Inputs with which verification runs the Programs of unlearning methods: each does something to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mcutrain.executor import Array, Executor
from mcutrain.manifest import Manifest

Step = tuple[str, dict[str, Array]]

#: Modes of ``unlearn_step`` (mcutrain.ops.unlearning_loss) for classification and for regression.
_MODES = {"cross-entropy": (0, 1, 2, 3, 4, 5, 6), "mse": (0, 7)}
#: A threshold that about this share of values exceeds.
_QUANTILE = 0.7


def unlearning_walk(
    manifest: Manifest, batches: Sequence[Mapping[str, Array]], hyper: Array, reference: Executor
) -> Iterator[Step]:
    """Programs that a build has for unlearning, in an order in which they work on each other's results.

    Thresholds and factors are taken from what ``reference`` holds when a Program's turn comes, so that
    some elements pass and others don't.

    Args:
        batches: arrays for the inputs of ``train_step``, by tensor name.
        hyper: f32[4], of an optimizer step.

    Yields:
        Programs of the build with arrays for their inputs.
    """
    walk = _Walk(manifest, batches, hyper, reference)
    known = {program.name for program in manifest.programs}
    return (step for step in walk.steps() if step[0] in known)


class _Walk:
    def __init__(
        self, manifest: Manifest, batches: Sequence[Mapping[str, Array]], hyper: Array, reference: Executor
    ) -> None:
        self._manifest = manifest
        self._first, self._last = dict(batches[0]), dict(batches[-1])
        self._hyper = hyper
        self._reference = reference
        self._known = {program.name for program in manifest.programs}
        self._rng = np.random.Generator(np.random.Philox(1))

    def steps(self) -> Iterator[Step]:
        yield from self._importance()
        yield from self._gradients()
        yield from self._weights()
        yield from self._head()

    def _importance(self) -> Iterator[Step]:
        if "importance" not in self._known:
            return
        factor = np.float32(1 / self._read("loss_scale")[0] ** 2)
        yield "zero_gradients", {}
        yield "importance", self._first
        yield "store_importance", {"importance_factor": np.array([factor / 2], np.float32)}
        yield "importance", self._last
        yield "dampen", {"dampening": np.array([1, 0.5, factor], np.float32)}
        yield "retain_importance", {"retention": np.array([4, 1, factor], np.float32)}

    def _gradients(self) -> Iterator[Step]:
        """A loss of every mode, the last gradients against those held, and what a mask lets through."""
        if "unlearn_step" not in self._known:
            return
        if "attention" in self._known:
            yield "attention", {"input": self._first["input"]}
        for mode in _MODES[self._manifest.options.loss or "mse"]:
            yield "zero_gradients", {}
            yield "unlearn_step", self._switched(mode, self._first)
        # held is the gradient of one sample, and against it goes four times its opposite
        yield "zero_gradients", {}
        yield "unlearn_step", self._switched(0, self._last)
        yield "hold_gradient", {}
        yield "unlearn_step", self._switched(0, self._last, weight=-2.0)
        yield "project_gradient", {}
        for kind in (0, 1):
            yield "select_mask", {"mask_rule": np.array([kind, self._typical(kind)], np.float32)}
        yield "masked_apply", {"hyper": self._hyper}

    def _switched(self, mode: int, batch: Mapping[str, Array], weight: float = 0.5) -> dict[str, Array]:
        """``unlearn_step``'s inputs: switch, and for its references numbers of a teacher there never was."""
        inputs = dict(batch)
        for name in self._manifest.program("unlearn_step").inputs:
            entry = self._manifest.tensor(name)
            if name == "unlearn_switch":
                # mode, weight, beta, log p of the label before, temperature, weight of attention
                inputs[name] = np.array([mode, weight, 0.1, -1, 2, 50, 0, 0], np.float32)
            elif name not in inputs:
                drawn: Any = self._rng.random(entry.shape) + 0.1
                inputs[name] = (drawn / drawn.sum(-1, keepdims=True)).astype(np.float32)
        return inputs

    def _weights(self) -> Iterator[Step]:
        for program in ("shrink", "prune"):
            yield program, {"threshold": np.array([self._typical(2) / 4], np.float32)}

    def _typical(self, kind: int) -> float:
        """What most gradients (kind 0), products of them with weights (1), or weights (2) stay below."""
        entry = max(self._manifest.trained(), key=lambda t: t.nbytes)
        weights = self._read(entry.name)
        values = weights if kind == 2 else self._read(f"{entry.name}.gradient")
        if kind == 1:
            values = values * weights
        return float(np.quantile(np.abs(values), _QUANTILE))

    def _head(self) -> Iterator[Step]:
        """Two batches learned, one of them forgotten, and the layer solved."""
        if "head_solve" not in self._known:
            return
        target = self._manifest.program("gram_learn").inputs[0]
        for program, batch in (
            ("gram_learn", self._last),
            ("gram_learn", self._first),
            ("gram_forget", self._last),
        ):
            yield "head_features", {"input": batch["input"]}
            yield program, {target: batch[target]}
        yield "head_solve", {"head_ridge": np.array([100], np.float32)}

    def _read(self, name: str) -> Array:
        return self._reference.read([name])[name]
