"""Learning on an Executor: inference, gradients, training, evaluation, weights.

:class:`Learner` is what ``build.session()`` and ``build.reference()`` both
give: the loops here decide what runs in which order, the Executor computes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from mcutrain.data import Samples, check_labels, check_samples, check_targets
from mcutrain.descent import Descent, Hyper, Plan
from mcutrain.errors import DataError, OptionError
from mcutrain.events import Applied, Evaluation, Event, Training
from mcutrain.executor import Array, Executor
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import Manifest, TensorEntry
from mcutrain.store import Store
from mcutrain.words import counted

#: What an optimizer step counts.
_COUNTERS = ("loss_scale", "skipped_steps")
_NUMPY: dict[str, Any] = NUMPY_DTYPES


class Learner:
    """Runs a build's Programs on samples.

    Arrays of samples have shape ``[n, *input]`` where ``input`` is the model's
    input without its batch axis (or are :class:`~mcutrain.data.Samples`, which
    may be larger than memory); labels are integers ``[n]``, targets of a
    regression ``[n, *output]``.  Weights are keyed by ONNX initializer name
    and have the ONNX model's own layout.
    """

    def __init__(self, executor: Executor, manifest: Manifest, store: Store | None = None) -> None:
        self.executor = executor
        #: whether the last to touch the accumulators was an optimizer step, which leaves them zero
        self._cleared = False
        #: the executor's persistent store, if it has one
        self.store = store
        self.manifest = manifest
        infer = manifest.program("infer")
        self._input = manifest.tensor(infer.inputs[0])
        self._output = manifest.tensor(infer.outputs[0], "infer")
        #: samples in one device batch
        self.rows = self._input.shape[0] if len(self._input.shape) > 1 else 1
        #: outputs of one sample
        self.classes = int(np.prod(self._output.shape)) // self.rows

    def __enter__(self) -> Learner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the device or simulator."""
        self.executor.close()

    # ---- inference

    def infer(self, x: Array | Samples, on_sample: Callable[[int, int], None] | None = None) -> Array:
        """The model's outputs for samples ``x``, float32 ``[n, *output]``.

        ``on_sample(done, n)`` is called as samples finish.  Raises DataError.
        """
        samples = self._samples(x)
        results = []
        for i in range(0, len(samples), self.rows):
            rows = {self._input.name: self.rows_of(samples, i, self._input.name)}
            got = self.executor.run("infer", rows, [self._output.name])
            results.append(self._unbatched(got[self._output.name]))
            if on_sample:
                on_sample(min(i + self.rows, len(samples)), len(samples))
        shape = self._output.shape[1:] if self.rows == self._output.shape[0] else self._output.shape
        return np.concatenate(results)[: len(samples)] if results else np.zeros((0, *shape), np.float32)

    def evaluate(
        self, x: Array | Samples, y: Array | Samples, on_sample: Callable[[int, int], None] | None = None
    ) -> Evaluation:
        """Mean loss and accuracy over samples; raises DataError."""
        samples = self._samples(x)
        targets = self._targets(samples, y)
        classify = self.manifest.options.loss != "mse"
        if self.manifest.options.loss is None or len(samples) % self.rows:
            outputs = self.infer(samples, on_sample)
            hits = int(
                np.count_nonzero(outputs.reshape(len(samples), -1).argmax(1) == np.asarray(targets).ravel())
            )
            return Evaluation(len(samples), None, hits / max(len(samples), 1) if classify else None)
        total, hits, done = 0.0, 0, 0
        for loss, right in self.scores(samples, targets, range(len(samples) // self.rows)):
            total += loss * self.rows
            hits += right
            done += self.rows
            if on_sample:
                on_sample(done, len(samples))
        n = max(len(samples), 1)
        return Evaluation(len(samples), total / n, hits / n if classify else None)

    def scores(
        self, samples: Samples, targets: Array | Samples, chosen: Iterable[int]
    ) -> Iterator[tuple[float, int]]:
        """Mean loss and right answers (of a regression: 0) of each of the ``chosen`` device batches.

        ``samples`` and ``targets`` are those of :meth:`training_set`.
        """
        classify = self.manifest.options.loss != "mse"
        program = self.manifest.program("evaluate")
        for number in chosen:
            i = int(number) * self.rows
            rows = self.rows_of(targets, i, program.inputs[1])
            inputs = {self._input.name: self.rows_of(samples, i, self._input.name), program.inputs[1]: rows}
            got = self.executor.run("evaluate", inputs, ["loss", self._output.name])
            right = 0
            if classify:
                answers = got[self._output.name].reshape(self.rows, -1).argmax(1)
                right = int(np.count_nonzero(answers == rows.ravel()))
            yield float(got["loss"][0]), right

    # ---- training

    def gradients(self, x: Array | Samples, y: Array | Samples) -> dict[str, Array]:
        """Mean gradient of the loss over samples by every trained parameter.

        Returns ``{initializer name: float32 array}`` in the ONNX layout.
        Raises DataError, and OptionError for a build without a loss or without accumulators.
        """
        self._needs_accumulators()
        samples, targets = self.training_set(x, y)
        self.accumulate(samples, targets)
        names = [f"{t.name}.gradient" for t in self.manifest.trained()]
        got = self.executor.read([*names, "loss_scale"])
        count = len(samples) // self.rows
        factor = np.float32(1.0 / count) / got["loss_scale"][0]
        return {
            _onnx_name(t): _to_onnx(t, got[f"{t.name}.gradient"] * factor) for t in self.manifest.trained()
        }

    def train(
        self,
        x: Array | Samples,
        y: Array | Samples,
        *,
        epochs: int = 1,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        batch: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        validation: tuple[Array | Samples, Array | Samples] | None = None,
        on_event: Callable[[Event], None] | None = None,
        exclude: Collection[int] = (),
        span: tuple[int, int | None] = (0, None),
    ) -> Training:
        """Stochastic gradient descent over ``epochs`` passes.

        ``batch`` samples make one optimizer step (their mean gradient); the
        last batch of an epoch may be smaller.  ``seed`` fixes the order.

        Samples (device batches) whose numbers are in ``exclude`` are left out of
        their places in that order: no other one changes its batch, a batch is the
        mean over those that remain in it, and one of which none remains is no
        step.  ``span`` limits training to the optimizer steps ``[first, last)``,
        counted over all epochs as if nothing were left out.

        Raises DataError and OptionError before the device is touched, and
        DivergedError after the last good weights were put back.
        """
        hyper = Hyper(lr, momentum, weight_decay)
        plan = Plan(epochs, batch, seed, shuffle, exclude, span)
        hyper.check(self.manifest.options)
        plan.check(self.manifest.options)
        samples, targets = self.training_set(x, y)
        return Descent(self, samples, targets, hyper, on_event).run(plan, validation)

    def ratios(self, x: Array | Samples, y: Array | Samples) -> dict[str, float]:
        """Gradient norm over weight norm of every trained parameter, by parameter name.

        Raises DataError, and OptionError for a build without accumulators.
        """
        self._needs_accumulators()
        samples, targets = self.training_set(x, y)
        self.accumulate(samples, targets)
        return self.accumulated_ratios(len(samples) // self.rows)

    # ---- weights

    def weights(self) -> dict[str, Array]:
        """The trained parameters (all of them in a build without a loss): float32, ONNX names and layout."""
        entries = self.manifest.trained() or self.manifest.parameters()
        got = self.executor.read([t.name for t in entries])
        return {_onnx_name(t): _to_onnx(t, got[t.name].astype(np.float32)) for t in entries}

    def load(self, weights: Mapping[str, Array]) -> None:
        """Overwrite parameters, given by ONNX name in the ONNX layout; others stay.

        Raises DataError for unknown names, wrong shapes and values that are
        not finite, before anything is written.
        """
        entries = {_onnx_name(t): t for t in self.manifest.parameters()}
        update = {}
        for name, value in weights.items():
            entry = entries.get(name)
            if entry is None or entry.origin is None:
                raise DataError(f"the model has no weight '{name}'", f"its weights are {', '.join(entries)}")
            array = np.asarray(value)
            if array.shape != entry.origin.shape:
                raise DataError(
                    f"weight '{name}' has shape {list(array.shape)}, not {list(entry.origin.shape)}",
                    "give weights of this very model",
                )
            if not np.isfinite(array).all():
                raise DataError(f"weight '{name}' holds NaN or infinity", "give finite weights")
            with np.errstate(over="ignore"):
                stored = entry.origin.to_device(array.astype(np.float32)).astype(_NUMPY[entry.dtype])
            if not np.isfinite(stored).all():
                raise DataError(f"weight '{name}' does not fit FP16", "compile with --precision fp32")
            update[entry.name] = stored
        self.executor.write(update)

    def snapshot(self) -> dict[str, Array]:
        """The trained state (parameters, momentum) as device tensors, for ``executor.write``."""
        names = [t.name for t in self.manifest.tensors if t.trained or t.name.endswith(".momentum")]
        return self.executor.read(names) if names else {}

    # ---- one step at a time

    def training_set(self, x: Array | Samples, y: Array | Samples) -> tuple[Samples, Array | Samples]:
        """Samples and targets as :meth:`accumulate` takes them, checked.

        Raises BuildError for a build that doesn't train, DataError for samples
        that don't fit the model or don't fill its batch.
        """
        self.manifest.program("train_step")
        samples = self._samples(x)
        targets = self._targets(samples, y)
        if not len(samples) or len(samples) % self.rows:
            raise DataError(
                f"{counted(len(samples), 'sample')} cannot fill the model's batches of {self.rows}",
                f"give a multiple of {self.rows}",
            )
        return samples, targets

    def accumulate(
        self,
        samples: Samples,
        targets: Array | Samples,
        chosen: Iterable[int] | None = None,
        *,
        program: str = "train_step",
        extra: Callable[[int], Mapping[str, Array]] | None = None,
        calls: tuple[int, int] | None = None,
        clear: bool = True,
    ) -> float:
        """Add the gradients of the ``chosen`` device batches (all by default) to the accumulators.

        Args:
            samples: of :meth:`training_set`, as are ``targets``.
            targets: labels, or what a regression should give.
            chosen: numbers of device batches, ``rows`` samples each.
            program: what adds them up, with the inputs of ``train_step`` first.
            extra: further inputs of ``program`` for a batch, by its number.
            calls: only these kernel calls of ``program``.
            clear: whether the accumulators start at zero.

        Returns:
            The mean of the batches' losses.
        """
        indices = list(range(len(samples) // self.rows) if chosen is None else chosen)
        target = self.manifest.program(program).inputs[1]
        if clear and not self._cleared:
            self.executor.run("zero_gradients")
        self._cleared = False
        total = 0.0
        for number in indices:
            row = int(number) * self.rows
            inputs = {
                self._input.name: self.rows_of(samples, row, self._input.name),
                target: self.rows_of(targets, row, target),
            }
            inputs.update(extra(int(number)) if extra else {})
            total += float(self.executor.run(program, inputs, ["loss"], calls)["loss"][0])
        return total / max(len(indices), 1)

    def apply(
        self,
        lr: float,
        batches: int,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        program: str = "apply",
        calls: Sequence[tuple[int, int]] = (),
    ) -> Applied:
        """One optimizer step with the mean of what ``batches`` device batches accumulated.

        ``calls`` limits it to these ranges of kernel calls of ``program``, one after another.
        """
        hyper = np.array([lr, momentum, weight_decay, 1.0 / batches], np.float32)
        for part in calls[:-1]:
            self.executor.run(program, {"hyper": hyper}, (), part)
        last = calls[-1] if calls else None
        applied = _applied(self.executor.run(program, {"hyper": hyper}, _COUNTERS, last))
        self._cleared = not calls
        return applied

    def step_immediately(
        self, samples: Samples, targets: Array | Samples, index: int, lr: float, weight_decay: float
    ) -> tuple[float, Applied]:
        """One step of a build with immediate updates, on device batch ``index``: loss, and loss scaling."""
        program, row = self.manifest.program("train_step"), index * self.rows
        inputs = {
            self._input.name: self.rows_of(samples, row, self._input.name),
            program.inputs[1]: self.rows_of(targets, row, program.inputs[1]),
            "hyper": np.array([lr, 0.0, weight_decay, 1.0], np.float32),
        }
        got = self.executor.run("train_step", inputs, ["loss", *_COUNTERS])
        return float(got["loss"][0]), _applied(got)

    def accumulated_ratios(self, batches: int) -> dict[str, float]:
        """:meth:`ratios` of what ``batches`` device batches accumulated."""
        program = self.manifest.program("statistics")
        got = self.executor.run("statistics", {}, program.outputs)
        scale = float(self.executor.read(["loss_scale"])["loss_scale"][0])
        ratios = {}
        for entry, gradient, weight in zip(
            self.manifest.trained(), program.outputs[::2], program.outputs[1::2], strict=True
        ):
            norm = float(got[gradient][0]) ** 0.5 / (scale * batches)
            ratios[entry.name] = norm / max(float(got[weight][0]) ** 0.5, 1e-30)
        return ratios

    # ---- within

    def _needs_accumulators(self) -> None:
        if self.manifest.options.immediate:
            raise OptionError(
                "this build updates its weights immediately and keeps no gradients",
                "compile it without --immediate",
            )

    def _samples(self, x: Array | Samples) -> Samples:
        """``x`` in the model's shape, every value checked to be finite; raises DataError."""
        shape = self._input.shape[1:] if len(self._input.shape) > 1 else self._input.shape
        return check_samples(x, shape)

    def _targets(self, samples: Samples, y: Array | Samples) -> Array | Samples:
        """Labels as int32, or targets of the output's shape, one a sample; raises DataError."""
        if self.manifest.options.loss == "mse":
            return check_targets(y, len(samples), self._output.shape[1:])
        return check_labels(y, len(samples), self.classes)

    def rows_of(self, array: Array | Samples, start: int, tensor: str) -> Array:
        """One device batch from row ``start`` in an input tensor's type; raises DataError on overflow."""
        entry = self.manifest.tensor(tensor)
        rows = array[start : start + self.rows]
        if len(rows) < self.rows:
            rows = np.concatenate([rows, np.repeat(rows[-1:], self.rows - len(rows), axis=0)])
        with np.errstate(over="ignore"):
            sent = np.ascontiguousarray(rows.astype(_NUMPY[entry.dtype]).reshape(entry.shape))
        if not np.isfinite(sent).all():
            raise DataError(f"sample {start} holds values beyond ±65504 (FP16)", "scale the data first")
        return sent

    def _unbatched(self, output: Array) -> Array:
        output = output.astype(np.float32)
        return output if self.rows == self._output.shape[0] else output[None]


def _applied(state: Mapping[str, Array]) -> Applied:
    return Applied(float(state["loss_scale"][0]), int(state["skipped_steps"][0]))


def _onnx_name(entry: TensorEntry) -> str:
    return entry.origin.initializer if entry.origin else entry.name


def _to_onnx(entry: TensorEntry, array: Array) -> Array:
    return entry.origin.to_onnx(array) if entry.origin else array
