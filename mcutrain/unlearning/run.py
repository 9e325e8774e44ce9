"""A task under way: counts what streams, remembers evaluations, and can put the network back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mcutrain.data import Samples
from mcutrain.errors import DataError, OptionError
from mcutrain.events import Applied, Evaluation
from mcutrain.executor import Array
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.unlearning.base import Carrier, Honesty, Labelled, Method, Outcome, Progress, Streamed, Task
from mcutrain.unlearning.options import Value

if TYPE_CHECKING:
    from mcutrain.learning import Learner

#: State beside the weights that a method must put back when it fails.
_STATE = ("loss_scale", "good_steps", "skipped_steps")
_STATE_SUFFIXES = (".momentum", ".importance")
#: What is only meaningful during a method, and remembers samples: cleared at its end.
_SCRATCH_SUFFIXES = (".held", ".mask")
#: Retained samples that guard a network when no guard set is given.
GUARD_SIZE = 256


@dataclass(frozen=True)
class Set:
    """Checked samples and targets, in device batches."""

    name: str
    samples: Samples
    targets: Array | Samples
    batches: int

    def __len__(self) -> int:
        return len(self.samples)

    def labels(self) -> Array:
        """Labels as one int array (classification)."""
        return np.asarray(self.targets).reshape(-1)


@dataclass(frozen=True)
class Snapshot:
    """The trained state at one moment."""

    tensors: Mapping[str, Array] = field(repr=False)
    version: int = 0


def open_set(learner: Learner, name: str, pair: Labelled) -> Set:
    """A pair of samples and targets as a checked set; raises DataError naming it."""
    try:
        samples, targets = learner.training_set(*pair)
    except DataError as error:
        raise DataError(f"{name} set: {error.reason}", error.remedy) from None
    return Set(name, samples, targets, len(samples) // learner.rows)


def guard_rows(retain: Set, rows: int, seed: int, classes: bool) -> Array:
    """Indices of the retained samples that guard: at most 256, as even over the classes as can be."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(retain))
    if classes:
        labels = retain.labels()[order]
        rank = np.zeros(len(labels), np.int64)
        for label in np.unique(labels):
            rank[labels == label] = np.arange(np.count_nonzero(labels == label))
        order = order[np.argsort(rank, kind="stable")]
    count = min(GUARD_SIZE, len(order)) // rows * rows
    return np.sort(order[:count])


class Run:
    """One task under way.

    All that a method does to the network goes through here, so that what it
    reports is what happened.  Every change of the weights starts a new version;
    an evaluation is made once a version.
    """

    def __init__(self, method: Method, task: Task) -> None:
        method.check_build(task)
        self.method = method
        self.task = task
        self.learner = task.learner
        self.manifest = task.learner.manifest
        self.variant = method.variant(task.variant).name
        self.settings = method.settings(task)
        self.chosen: dict[str, Value] = {}
        self.classify = self.manifest.options.loss != "mse"
        self.sets = {
            name: open_set(self.learner, name, pair)
            for name, pair in (
                ("forget", task.forget),
                ("retain", task.retain),
                ("guard", task.guard),
                ("validation", task.validation),
            )
            if pair is not None
        }
        #: which retained samples are the guard set, where it was drawn from them
        self._guard_rows: Array | None = None
        if "guard" not in self.sets and "retain" in self.sets:
            retain = self.sets["retain"]
            rows = guard_rows(retain, self.learner.rows, task.seed, self.classify)
            pair = (retain.samples[rows], np.asarray(retain.targets)[rows])
            self.sets["guard"] = open_set(self.learner, "guard", pair)
            self._guard_rows = rows
        self.inference = self.gradient = self.steps = 0
        #: what became of the importance, where the method itself saw to it
        self.recomputed: list[Carrier] = []
        self._version = self._newest = 0
        self._evaluations: dict[tuple[str, int], Evaluation] = {}
        #: losses and right answers of each device batch, ``[batches, 2]``
        self._losses: dict[tuple[str, int], Array] = {}

    def __getitem__(self, name: str) -> Set:
        """A set by name; raises OptionError when the task has none."""
        if name not in self.sets:
            raise OptionError(
                f"method '{self.method.name}:{self.variant}' needs the {name} set", f"give one (--{name})"
            )
        return self.sets[name]

    @property
    def guard_is_drawn(self) -> bool:
        """Whether the guard set is a part of the retain set, whose scores tell its own."""
        return self._guard_rows is not None

    def number(self, name: str) -> float:
        """A numeric setting."""
        value = self.settings[name]
        assert isinstance(value, (int, float))
        return float(value)

    def count(self, name: str) -> int:
        """A whole-numbered setting."""
        value = self.settings[name]
        assert isinstance(value, int)
        return value

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers for one purpose, fixed by the task's seed."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([abs(self.task.seed), purpose])))

    def event(self, phase: str, done: int, total: int, note: str = "") -> None:
        if self.task.on_event:
            self.task.on_event(Progress(phase, done, total, note))

    # ---- what streams

    def evaluate(
        self,
        name: str,
        until: Callable[[Evaluation], bool] | None = None,
        order: Sequence[int] | None = None,
    ) -> Evaluation:
        """Loss and accuracy on a set with the weights of now.

        ``until`` is asked after every device batch whether what is known so far, of which it is shown the
        evaluation, is enough; what was broken off is not remembered.  ``order`` are the numbers of all
        device batches in another order.
        """
        key = (name, self._version)
        if key in self._evaluations:
            return self._evaluations[key]
        held, rows = self[name], self.learner.rows
        known = self._losses.get(("retain", self._version))
        if name == "guard" and known is not None and self._guard_rows is not None and rows == 1:
            scored = known[self._guard_rows]
        else:
            scored = np.zeros((held.batches, 2))
            so_far = np.zeros(2)
            numbers = range(held.batches) if order is None else order
            found = self.learner.scores(held.samples, held.targets, numbers)
            for done, (number, score) in enumerate(zip(numbers, found, strict=True), 1):
                self.inference += rows
                scored[number] = score
                so_far += score
                self.event(f"scoring {name}", done * rows, len(held))
                if until is not None and done < held.batches:
                    partial = self._evaluation(so_far, done)
                    if until(partial):
                        return partial
        self._losses[key] = scored
        self._evaluations[key] = self._evaluation(scored.sum(0), len(scored))
        return self._evaluations[key]

    def losses(self, name: str) -> Array:
        """Loss of each device batch of a set with the weights of now, float64."""
        self.evaluate(name)
        return self._losses[name, self._version][:, 0]

    def _evaluation(self, score: Array, batches: int) -> Evaluation:
        """Sums of losses and right answers over device batches as an evaluation."""
        samples = batches * self.learner.rows
        accuracy = float(score[1]) / samples if self.classify else None
        return Evaluation(samples, float(score[0]) / batches, accuracy)

    def infer(self, held: Set) -> Array:
        """Outputs for a set's samples, float32 ``[n, *output]``."""
        self.inference += len(held)
        return self.learner.infer(held.samples, lambda done, n: self.event(f"{held.name} outputs", done, n))

    def accumulate(
        self,
        held: Set,
        chosen: Iterable[int] | None = None,
        *,
        targets: Array | Samples | None = None,
        program: str = "train_step",
        extra: Callable[[int], Mapping[str, Array]] | None = None,
        calls: tuple[int, int] | None = None,
        clear: bool = True,
    ) -> float:
        """:meth:`Learner.accumulate <mcutrain.learning.Learner.accumulate>` over a set, counted."""
        batches = list(range(held.batches) if chosen is None else chosen)
        self.gradient += len(batches) * self.learner.rows
        return self.learner.accumulate(
            held.samples,
            held.targets if targets is None else targets,
            batches,
            program=program,
            extra=extra,
            calls=calls,
            clear=clear,
        )

    def apply(
        self,
        lr: float,
        batches: int,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        program: str = "apply",
        calls: Sequence[tuple[int, int]] = (),
    ) -> Applied:
        """One optimizer step, counted."""
        self.steps += 1
        self.changed()
        return self.learner.apply(lr, batches, momentum, weight_decay, program=program, calls=calls)

    def execute(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
        *,
        calls: tuple[int, int] | None = None,
        changes: bool = False,
    ) -> dict[str, Array]:
        """Run a Program that takes no samples, or ``calls`` of it; ``changes``: it touches the weights."""
        if changes:
            self.changed()
        arrays = {name: np.asarray(value, np.float32) for name, value in (inputs or {}).items()}
        return self.learner.executor.run(program, arrays, outputs, calls)

    # ---- state

    def changed(self) -> None:
        """The weights are new: earlier evaluations don't speak of them."""
        self._newest += 1
        self._version = self._newest

    def save(self) -> Snapshot:
        """The trained state: parameters, momentum, importance, loss scaling."""
        names = [
            t.name
            for t in self.manifest.tensors
            if t.trained or t.name in _STATE or t.name.endswith(_STATE_SUFFIXES)
        ]
        return Snapshot(self.learner.executor.read(names), self._version)

    @property
    def version(self) -> int:
        """Which of all weights so far these are."""
        return self._version

    def restore(self, snapshot: Snapshot) -> None:
        """Put a saved state back; evaluations made at it hold again."""
        self.learner.executor.write(snapshot.tensors)
        self._version = snapshot.version

    def write(self, tensors: Mapping[str, Array]) -> None:
        """Overwrite parameters."""
        self.changed()
        self.learner.executor.write(tensors)

    @contextmanager
    def undone_on_error(self) -> Iterator[Snapshot]:
        """Whatever goes wrong within, the network is as it was before; yields that state."""
        before = self.save()
        try:
            yield before
        except BaseException:
            self.restore(before)
            self.clear()
            raise

    def clear_momentum(self) -> None:
        """Momentum starts at zero: it holds gradients of the samples to forget."""
        self._zero([t.name for t in self.manifest.tensors if t.name.endswith(".momentum")])

    def clear(self) -> list[Carrier]:
        """Overwrite what remembers samples beside the weights; returns what was cleared."""
        self.learner.executor.run("zero_gradients")
        inputs = [t for t in self.manifest.tensors if t.kind == "input"]
        scratch = [t for t in self.manifest.tensors if t.name.endswith(_SCRATCH_SUFFIXES)]
        self._zero([t.name for t in (*inputs, *scratch)])
        cleared = [Carrier("gradients", "cleared", "accumulators"), Carrier("inputs", "cleared")]
        for suffix, note in ((".held", "held gradients"), (".mask", "weight mask")):
            if any(t.name.endswith(suffix) for t in scratch):
                cleared.append(Carrier(suffix[1:], "cleared", note))
        return cleared

    def _zero(self, names: Sequence[str]) -> None:
        entries = [self.manifest.tensor(name) for name in names]
        self.learner.executor.write({t.name: np.zeros(t.shape, NUMPY_DTYPES[t.dtype]) for t in entries})

    # ---- the end

    def outcome(
        self,
        stop: str,
        before: Snapshot,
        *,
        changed: bool = True,
        missed: bool = False,
        honesty: Honesty | None = None,
    ) -> Outcome:
        """Clear the scratch, score what is left, and put it all together.

        ``honesty`` is given where this task is worth less than the method can be.
        """
        after = {name: self.evaluate(name) for name in self._scored()}
        carriers = list(self.recomputed)
        if changed:
            self.clear_momentum()
            importance = [t.name for t in self.manifest.tensors if t.name.endswith(".importance")]
            if importance and not any(c.name == "importance" for c in carriers):
                self._zero(importance)
                carriers.append(Carrier("importance", "cleared", "it counted the forget set"))
            carriers += self._head_sums(carriers)
        carriers += self.clear()
        if any(t.name.endswith(".momentum") for t in self.manifest.tensors):
            carriers.append(Carrier("momentum", "cleared" if changed else "kept"))
        return Outcome(
            self.method.name,
            self.variant,
            honesty or self.method.honesty,
            changed,
            stop,
            {**self.settings, **self.chosen},
            self.task.seed,
            Streamed(self.inference, self.gradient),
            self.steps,
            {name: self._evaluations[name, before.version] for name in after},
            after,
            tuple(carriers),
            missed,
        )

    def _head_sums(self, known: Sequence[Carrier]) -> list[Carrier]:
        """The analytic head's sums, where the method left them alone and they hold samples."""
        if any(c.name == "head sums" for c in known) or all(
            t.name != "head.count" for t in self.manifest.tensors
        ):
            return []
        if not self.learner.executor.read(["head.count"])["head.count"][0]:
            return []
        return [Carrier("head sums", "kept", "forget there too, by method analytic-head")]

    def score_before(self) -> None:
        """Evaluations that the outcome compares with: call it before the first change."""
        for name in self._scored():
            self.evaluate(name)

    def scoring(self) -> int:
        """Samples that the evaluations before and after stream."""
        return 2 * sum(len(self.sets[name]) for name in self._scored())

    def _scored(self) -> list[str]:
        return [name for name in ("forget", "guard") if name in self.sets]
