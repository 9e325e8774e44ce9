"""A head whose counts can be undone: exact forgetting on a frozen network (analytic continual unlearning).

The network's last layer is the solution of a ridge regression on the features
below it.  What the regression knows of the samples are sums of integers
(:mod:`mcutrain.ops.head`): forgetting a sample subtracts what learning it
added, and the weights solved from the sums are, bit for bit, those of a head
that never learned it, whatever the order.

That is true of the head.  A build that trains layers below it cannot say that these
never learned from the samples, so its outcome is not called exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcutrain.data import Samples
from mcutrain.errors import DataError, OptionError
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.manifest import Manifest
from mcutrain.ops.head import FULL, MOST_SAMPLES
from mcutrain.unlearning.base import Carrier, Cost, Method, Outcome, Streamed, Task, Variant, register
from mcutrain.unlearning.options import Option, Value
from mcutrain.unlearning.run import Run
from mcutrain.words import counted

#: γ over what G's diagonal would be if every feature were at full scale.
RIDGE = 1e-3
PROGRAMS = ("head_features", "gram_learn", "gram_forget", "head_solve")
#: What the head knows of samples; the features are those of the last one.
_COUNTS = ("head.gram", "head.targets", "head.count")
_FEATURES = "head.features"
_SCALE = "head.scale"

OnSample = Callable[[int, int], None]


@dataclass(frozen=True)
class AnalyticHead:
    """The analytic head of a build that carries its Programs.

    Samples and targets are those of :meth:`Learner.training_set
    <mcutrain.learning.Learner.training_set>`.
    """

    learner: Learner

    @property
    def count(self) -> int:
        """Samples in the counts."""
        return int(self.learner.executor.read(["head.count"])["head.count"][0])

    @property
    def scale(self) -> Array:
        """f32[2]: what features and targets are multiplied by; zeros before :meth:`calibrate`."""
        return self.learner.executor.read([_SCALE])[_SCALE]

    def rescale(self, features: float, targets: float) -> None:
        """Set the scale as it was when counts like these were made."""
        self.learner.executor.write({_SCALE: np.array([features, targets], np.float32)})

    def calibrate(
        self, samples: Samples, targets: Array | Samples, on_sample: OnSample | None = None
    ) -> None:
        """Choose the scale for features like those of ``samples``: the powers of two that fit their range.

        It is a setting, not a count: change it only while the counts are empty.
        """
        executor, program = self.learner.executor, self.learner.manifest.program("head_features")
        rows, largest = self.learner.rows, 0.0
        for number in range(len(samples) // rows):
            batch = {program.inputs[0]: self.learner.rows_of(samples, number * rows, program.inputs[0])}
            features = executor.run("head_features", batch, [program.outputs[0]])[program.outputs[0]]
            largest = max(largest, float(np.abs(features.astype(np.float32)).max()))
            if on_sample:
                on_sample((number + 1) * rows, len(samples))
        reach = 0.0
        if self.learner.manifest.options.loss == "mse":
            reach = max(float(np.abs(np.asarray(targets[i])).max()) for i in range(len(samples)))
        scale = np.array([_power_of_two(FULL, largest), _power_of_two(1, reach)], np.float32)
        executor.write({_SCALE: scale})

    def learn(self, samples: Samples, targets: Array | Samples, on_sample: OnSample | None = None) -> None:
        """Add samples to the counts; the weights change at :meth:`solve`.

        Raises DataError before anything changed when there is no room for all of them.
        """
        if self.count + len(samples) > MOST_SAMPLES:
            raise DataError(
                f"the head has room for {MOST_SAMPLES} samples: it would hold {self.count + len(samples)}",
                "give fewer: beyond that its 32-bit sums overflow",
            )
        self._stream("gram_learn", samples, targets, on_sample)

    def forget(self, samples: Samples, targets: Array | Samples, on_sample: OnSample | None = None) -> None:
        """Take samples out of the counts; the weights change at :meth:`solve`.

        They must have been learned, with these targets: then the counts are as if they never had
        been.  Raises DataError before anything changed when the head holds fewer.
        """
        if self.count < len(samples):
            raise DataError(
                f"the head holds {counted(self.count, 'sample')}, and is to forget {len(samples)}",
                "forget samples that it has learned",
            )
        self._stream("gram_forget", samples, targets, on_sample)

    def solve(self, ridge: float = RIDGE) -> None:
        """The layer's weights from the counts, with γ = ``ridge`` · 127² · count.

        Raises OptionError, the weights unchanged, when the equations have no solution.
        """
        gamma = np.float32(ridge) * np.float32(FULL * FULL * self.count)
        got = self.learner.executor.run("head_solve", {"head_ridge": gamma.reshape(1)}, ["solved"])
        if not got["solved"][0]:
            raise OptionError(f"the head has no solution at a ridge of {ridge:g}", "give a larger ridge")

    def clear(self) -> None:
        """Counts of nothing; the weights stay."""
        self._zero([*_COUNTS, _FEATURES])

    def clear_features(self) -> None:
        """Overwrite the features of the sample that came last."""
        self._zero([_FEATURES])

    def state(self) -> dict[str, Array]:
        """Counts, scale and the layer's weights, for ``executor.write``."""
        manifest = self.learner.manifest
        written = [name for call in manifest.program("head_solve").calls for name in call.outputs]
        parameters = {t.name for t in manifest.parameters()}
        names = [*_COUNTS, _SCALE, *(name for name in dict.fromkeys(written) if name in parameters)]
        return self.learner.executor.read(names)

    def _stream(
        self, program: str, samples: Samples, targets: Array | Samples, on_sample: OnSample | None
    ) -> None:
        executor, manifest = self.learner.executor, self.learner.manifest
        source, target = manifest.program("head_features").inputs[0], manifest.program(program).inputs[0]
        rows = self.learner.rows
        for number in range(len(samples) // rows):
            executor.run("head_features", {source: self.learner.rows_of(samples, number * rows, source)})
            given = {target: self.learner.rows_of(targets, number * rows, target)}
            admitted = executor.run(program, given, ["admitted"])["admitted"]
            if not admitted.all():
                raise DataError(
                    f"the head did not take sample {number * rows + int(np.argmin(admitted != 0))}",
                    "its target is out of range",
                )
            if on_sample:
                on_sample((number + 1) * rows, len(samples))

    def _zero(self, names: list[str]) -> None:
        executor = self.learner.executor
        executor.write({name: np.zeros_like(value) for name, value in executor.read(names).items()})


def _power_of_two(full: float, largest: float) -> float:
    """The largest power of two by which ``largest`` stays within ``full``; 1 of nothing."""
    return float(2.0 ** np.floor(np.log2(full / largest))) if largest > 0 else 1.0


@register
class AnalyticHeadMethod(Method):
    name = "analytic-head"
    summary = "takes samples out of the sums from which the last layer is solved"
    honesty = "exact"
    variants = (
        Variant("subtract", "subtracts what the samples added to the head's sums, and solves it again"),
        Variant("refit", "clears the sums, and learns the head anew from the retained data"),
    )
    needs_retain = "no; refit: all that is to be kept"
    memory_words = "4 bytes for half of (features + 1)², and for each class and feature"
    cost_words = "forget set forward once; refit: retained data forward once or twice"
    options = (
        Option(
            "ridge",
            float,
            RIDGE,
            "strength of the regularisation, relative to features at full scale; the same for every request",
            1e-9,
            1e3,
        ),
    )

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        return {self.name: PROGRAMS}

    def history(self, variant: str) -> Literal["", "runs", "head"]:
        return "head" if variant == "subtract" else ""

    def memory(self, manifest: Manifest) -> int:
        return sum(t.nbytes for t in manifest.tensors if t.name.startswith("head."))

    def cost(self, task: Task) -> Cost:
        run = Run(self, task)
        head = _checked(run)
        passes = len(run["forget"])
        if run.variant == "refit":
            passes = len(run["retain"]) * (1 if head.scale[0] else 2)
        return Cost(Streamed(run.scoring() + passes), bound=False)

    def run(self, task: Task) -> Outcome:
        run = Run(self, task)
        head = _checked(run)
        run.score_before()
        kept = head.state()
        with run.undone_on_error() as before:
            try:
                if run.variant == "refit":
                    _refit(run, head)
                else:
                    forget = run["forget"]
                    head.forget(forget.samples, forget.targets, _report(run, "subtracting"))
                    run.inference += len(forget)
                run.changed()
                if head.count:
                    head.solve(run.number("ridge"))
            except BaseException:
                run.learner.executor.write(kept)
                raise
            finally:
                head.clear_features()
            run.chosen["samples_left"] = head.count
            run.chosen["feature_scale"], run.chosen["target_scale"] = map(float, head.scale)
            run.recomputed += _carriers(run)
            stop = "the head is solved from the other samples"
            if not layers_below(run.manifest):
                return run.outcome(stop, before)
            stop += "; layers below it, which this build trains, may still know them (compile with --train)"
            return run.outcome(stop, before, honesty="suppression")


def layers_below(manifest: Manifest) -> list[str]:
    """Parameters that the build trains and the head does not solve."""
    solved = {name for call in manifest.program("head_solve").calls for name in call.outputs}
    return [t.name for t in manifest.trained() if t.name not in solved]


def _checked(run: Run) -> AnalyticHead:
    """The head, able to do the task; raises DataError and OptionError."""
    head = AnalyticHead(run.learner)
    if run.variant == "refit":
        run["retain"]
    elif not head.count:
        raise OptionError(
            "the head has learned nothing yet", "learn it first, for example by method analytic-head:refit"
        )
    elif head.count <= len(run["forget"]):
        raise DataError(
            f"the head holds {counted(head.count, 'sample')}, and is to forget {len(run['forget'])}",
            "forget fewer than it has learned",
        )
    return head


def _refit(run: Run, head: AnalyticHead) -> None:
    retain = run["retain"]
    head.clear()
    if not head.scale[0]:
        head.calibrate(retain.samples, retain.targets, _report(run, "calibrating"))
        run.inference += len(retain)
    head.learn(retain.samples, retain.targets, _report(run, "learning"))
    run.inference += len(retain)


def _report(run: Run, phase: str) -> OnSample:
    return lambda done, total: run.event(phase, done, total)


def _carriers(run: Run) -> list[Carrier]:
    carriers = [
        Carrier("head sums", "recomputed", "Gram matrix, targets and count of the other samples"),
        Carrier("head features", "cleared"),
        Carrier("head scale", "kept", "two powers of two, set before the head learned"),
    ]
    if layers_below(run.manifest):
        note = "this build trains them: whatever they learned from the forgotten samples is still there"
        carriers.append(Carrier("layers below the head", "kept", note))
    return carriers
