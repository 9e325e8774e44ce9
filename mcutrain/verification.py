"""Verification: two Executors run training steps call by call and every tensor must agree in every bit.

Nothing is tolerated: the first difference ends the run and is reported with
its Program, call, tensor, index and both values.  NaN fails too, except in
the gradients of a step that dynamic loss scaling skipped on both sides, which
is counted: scaled gradients may overflow, the model's outputs and loss not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mcutrain.data import Samples
from mcutrain.errors import DataError
from mcutrain.executor import Array, Executor, same_bits
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import CallEntry, Manifest, ProgramEntry
from mcutrain.verification_walk import unlearning_walk

_DTYPES = NUMPY_DTYPES
#: Order of the Programs of one step; those a build lacks are left out.
STEP = ("zero_gradients", "train_step", "statistics", "apply")
#: Programs that are compared once, before the first step.
ONCE = ("infer", "evaluate")


@dataclass(frozen=True)
class Difference:
    """The first element on which two executors disagree, or a NaN that both computed."""

    step: int
    program: str
    #: number of the kernel call in its Program, or -1 for a tensor compared at rest
    call: int
    #: layer and operator of the call
    node: str
    op: str
    tensor: str
    index: tuple[int, ...]
    device: float
    reference: float
    #: bit patterns, hexadecimal
    device_bits: str
    reference_bits: str
    #: elements that differ (or are NaN), of how many
    count: int
    size: int
    nan: bool

    def __str__(self) -> str:
        where = f"step {self.step}, {self.program}"
        if self.call >= 0:
            where += f", call {self.call} ({self.op} {self.node})".replace(" )", ")")
        element = f"{self.tensor}[{', '.join(map(str, self.index))}]"
        if self.nan:
            what = f"is NaN on both sides ({self.count} of {self.size} elements)"
            return f"{where}: {element} {what}"
        return (
            f"{where}: {element} is {self.device!r} (0x{self.device_bits}) on the device, "
            f"{self.reference!r} (0x{self.reference_bits}) in the reference; "
            f"{self.count} of {self.size} elements differ"
        )


@dataclass
class Report:
    """What was compared, and the first difference if there was one."""

    steps: int = 0
    calls: int = 0
    tensors: int = 0
    elements: int = 0
    #: steps that loss scaling skipped on both sides
    skipped: int = 0
    #: Programs of unlearning methods that were compared after the steps
    unlearning: list[str] = field(default_factory=list)
    #: accumulation rules of the kernel calls that were compared (numerics.md)
    rules: set[str] = field(default_factory=set)
    difference: Difference | None = None

    @property
    def equal(self) -> bool:
        """Whether everything agreed; false when nothing was compared."""
        return self.difference is None and self.tensors > 0


@dataclass(frozen=True)
class Progress:
    """One kernel call was compared: ``done`` of ``total`` in ``step`` of ``steps``."""

    step: int
    steps: int
    program: str
    node: str
    done: int
    total: int


def make_batches(
    manifest: Manifest, x: Array | Samples, y: Array | Samples | None, steps: int
) -> list[dict[str, Array]]:
    """Device inputs for ``steps`` steps from samples x [n, …] and targets y [n, …], in order, wrapping round.

    Raises DataError when there are no samples.
    """
    program = manifest.program("infer" if manifest.options.loss is None else "train_step")
    entries = [manifest.tensor(name) for name in program.inputs]
    sources: list[Array | Samples] = [x] if y is None else [x, y]
    if not len(x):
        raise DataError("there are no samples to verify with", "give at least one")
    batches = []
    for step in range(steps):
        batch = {}
        for entry, source in zip(entries, sources, strict=False):
            rows = np.arange(step * entry.shape[0], (step + 1) * entry.shape[0]) % len(x)
            batch[entry.name] = source[rows].astype(_DTYPES[entry.dtype]).reshape(entry.shape)
        batches.append(batch)
    return batches


def verify(
    device: Executor,
    reference: Executor,
    manifest: Manifest,
    batches: Sequence[Mapping[str, Array]],
    *,
    lr: float = 0.01,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Run one training step per batch on both executors, call by call, and compare every tensor.

    Then the same with the Programs of the build's unlearning methods, on the state that the steps have left.

    The reference starts from the device's parameters and state, and the device
    gets them back at the end.  A build without a loss runs ``infer`` alone.

    Args:
        batches: arrays for the inputs of ``train_step`` by tensor name, see :func:`make_batches`.
        lr, momentum, weight_decay: of the optimizer step.
        on_progress: called after every kernel call.
    """
    return _Comparison(device, reference, manifest, on_progress).run(
        batches, np.array([lr, momentum, weight_decay, 1.0], np.float32)
    )


@dataclass(frozen=True)
class _Place:
    """Where a tensor was compared."""

    program: str
    call: int = -1
    node: str = ""
    op: str = ""


class _Found(Exception):
    """The first difference; ends the walk."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


class _Comparison:
    """One verification: both executors, the report so far, and NaNs that wait for the step's verdict."""

    def __init__(
        self,
        device: Executor,
        reference: Executor,
        manifest: Manifest,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.device, self.reference, self.manifest = device, reference, manifest
        self.on_progress = on_progress or (lambda progress: None)
        self.report = Report()
        self.step, self.steps = 0, 0
        self.nan: Difference | None = None

    def run(self, batches: Sequence[Mapping[str, Array]], hyper: Array) -> Report:
        changing = [t.name for t in self.manifest.tensors if t.kind in ("parameter", "state")]
        kept = self.device.read(changing)
        self.reference.write(kept)
        self.steps = len(batches)
        try:
            self._compare_at_rest([t.name for t in self.manifest.tensors if t.kind == "constant"])
            for self.step, batch in enumerate(batches, start=1):
                self._run_step({**batch, "hyper": hyper})
                self.report.steps += 1
            self._run_unlearning(batches, hyper)
        except _Found as found:
            self.report.difference = found.difference
        finally:
            self.device.write(kept)
        return self.report

    def _programs(self) -> Iterator[ProgramEntry]:
        """The Programs of the present step in their order."""
        known = {program.name: program for program in self.manifest.programs}
        names: tuple[str, ...] = (*ONCE, *STEP) if self.step == 1 else STEP
        if "train_step" not in known:
            names = ONCE
        return (known[name] for name in names if name in known)

    def _run_step(self, inputs: Mapping[str, Array]) -> None:
        self.nan = None
        programs = list(self._programs())
        total, done = sum(len(program.calls) for program in programs), 0
        skipped = self._skipped_steps()
        for program in programs:
            given = {name: inputs[name] for name in program.inputs if name in inputs}
            in_gradients = program.name not in ONCE and "loss" not in program.outputs
            for index, call in enumerate(program.calls):
                self._compare_call(program.name, index, call, given if index == 0 else {})
                if self.nan is not None and not in_gradients:
                    raise _Found(self.nan)
                in_gradients |= program.name not in ONCE and "loss" in call.outputs
                done += 1
                self.on_progress(Progress(self.step, self.steps, program.name, call.node, done, total))
        if self._skipped_steps() > skipped:
            self.report.skipped += 1
        elif self.nan is not None:
            raise _Found(self.nan)

    def _run_unlearning(self, batches: Sequence[Mapping[str, Array]], hyper: Array) -> None:
        """Each Program of an unlearning method, with inputs that give it something to do."""
        if self.manifest.options.loss is None or self.manifest.options.immediate:
            return
        self.step = self.steps
        scale = [t.name for t in self.manifest.tensors if t.name == "head.scale"]
        for name in scale:
            # any powers of two: the features' range is for a method to find out
            for side in (self.device, self.reference):
                side.write({name: np.array([8, 0.125], np.float32)})
        for name, inputs in unlearning_walk(self.manifest, batches, hyper, self.reference):
            program = self.manifest.program(name)
            for index, call in enumerate(program.calls):
                self.nan = None
                self._compare_call(name, index, call, inputs if index == 0 else {})
                if self.nan is not None:
                    raise _Found(self.nan)
                total = len(program.calls)
                self.on_progress(Progress(self.steps, self.steps, name, call.node, index + 1, total))
            if name not in self.report.unlearning and name not in STEP:
                self.report.unlearning.append(name)

    def _skipped_steps(self) -> int:
        """Steps that loss scaling has skipped so far; both sides were compared already."""
        if any(t.name == "skipped_steps" for t in self.manifest.tensors):
            return int(self.reference.read(["skipped_steps"])["skipped_steps"][0])
        return 0

    def _compare_call(self, program: str, index: int, call: CallEntry, inputs: Mapping[str, Array]) -> None:
        outputs = list(dict.fromkeys(call.outputs))
        calls = (index, index + 1)
        got = self.device.run(program, inputs, outputs, calls)
        expected = self.reference.run(program, inputs, outputs, calls)
        self.report.calls += 1
        if call.accumulation:
            self.report.rules.add(call.accumulation)
        for name in outputs:
            self._compare(_Place(program, index, call.node, call.op), name, got[name], expected[name])

    def _compare_at_rest(self, names: list[str]) -> None:
        got, expected = self.device.read(names), self.reference.read(names)
        for name in names:
            self._compare(_Place("constants"), name, got[name], expected[name])

    def _compare(self, place: _Place, tensor: str, got: Array, expected: Array) -> None:
        self.report.tensors += 1
        self.report.elements += got.size
        both_nan: Array = np.zeros(0, bool)
        if got.dtype.kind == "f" and same_bits(got, expected):
            both_nan = np.isnan(got)
            if not both_nan.any():
                return
        elif same_bits(got, expected):
            return
        nan = bool(both_nan.size)
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise DataError(
                f"'{tensor}' is {got.dtype}{got.shape} on the device,"
                f" {expected.dtype}{expected.shape} in the reference",
                "the build and the reference are not of the same model: compile it again",
            )
        unsigned = f"u{got.itemsize}"
        wrong = both_nan if nan else got.view(unsigned) != expected.view(unsigned)
        first = int(np.argmax(wrong))
        width = 2 * got.itemsize
        difference = Difference(
            step=self.step,
            program=place.program,
            call=place.call,
            node=place.node,
            op=place.op,
            tensor=tensor,
            index=tuple(int(i) for i in np.unravel_index(first, got.shape)),
            device=got.ravel()[first].item(),
            reference=expected.ravel()[first].item(),
            device_bits=f"{int(got.ravel().view(unsigned)[first]):0{width}x}",
            reference_bits=f"{int(expected.ravel().view(unsigned)[first]):0{width}x}",
            count=int(np.count_nonzero(wrong)),
            size=got.size,
            nan=nan,
        )
        if not nan:
            raise _Found(difference)
        self.nan = self.nan or difference
