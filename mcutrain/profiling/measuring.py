"""Measuring: Programs run on a device that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mcutrain.device.profile import CallCounts, Clock, RunCounts, run_counted
from mcutrain.device.session import Session
from mcutrain.executor import Array
from mcutrain.ir import NUMPY_DTYPES
from mcutrain.manifest import Manifest, ProgramEntry
from mcutrain.profiling.model import Call, Profile, ProgramProfile
from mcutrain.profiling.naming import direction_of, layer_of

#: The Programs of a training step, in their order; a build that updates immediately has only the first.
STEP = ("train_step", "apply")
#: Programs that change nothing that outlives them.
_HARMLESS = ("infer", "evaluate")


def programs_of(manifest: Manifest, program: str) -> tuple[str, ...]:
    """The Programs that ``program`` stands for: ``step`` for a whole training step, else itself.

    Raises:
        BuildError: the build has no such Program.
    """
    names = STEP if program == "step" else (program,)
    known = [entry.name for entry in manifest.programs]
    chosen = tuple(name for name in names if name in known or name == "train_step" or program != "step")
    for name in chosen:
        manifest.program_index(name)
    return chosen


def generated_inputs(manifest: Manifest, names: Sequence[str], seed: int = 0) -> dict[str, Array]:
    """Inputs for Programs ``names``: normally distributed samples, label 0, nothing learned from them."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name in names:
        for tensor in manifest.program(name).inputs:
            entry = manifest.tensor(tensor)
            values = np.zeros(entry.shape)
            if entry.dtype in ("f16", "f32") and tensor in (manifest.programs[0].inputs[0], "target"):
                values = rng.normal(size=entry.shape)
            made.setdefault(tensor, values.astype(NUMPY_DTYPES[entry.dtype]))
    if "hyper" in made:
        made["hyper"] = np.array([0, 0, 0, 1], np.float32)
    return made


def profile(
    session: Session,
    program: str = "step",
    inputs: Mapping[str, Array] | None = None,
    runs: int = 1,
    on_run: Callable[[str, int, int], None] | None = None,
) -> Profile:
    """Count what the Programs of ``program`` take on a device.

    They run once unmeasured, then ``runs`` times for their durations and as
    often again for those of their calls.  Parameters and state are put back.

    Args:
        session: the device.
        program: a Program's name, or ``step`` for a training step.
        inputs: tensors by name in place of generated ones.
        runs: to take the mean of.
        on_run: called before each run of a Program with its name, runs done and runs in all.

    Raises:
        BuildError: the build has no such Program.
        DeviceError: the device has no counters.
    """
    manifest = session.manifest
    names = programs_of(manifest, program)
    given = {**generated_inputs(manifest, names), **(inputs or {})}
    changing = [t.name for t in manifest.tensors if t.kind in ("parameter", "state")]
    kept = session.read(changing) if set(names) - set(_HARMLESS) else {}
    counted: dict[str, list[RunCounts]] = {name: [] for name in names}
    whole: dict[str, list[int]] = {name: [] for name in names}
    passes = [None, *[False] * runs, *[True] * runs]
    try:
        for done, each_call in enumerate(passes):
            for name in names:
                if on_run:
                    on_run(name, done, len(passes))
                own = {key: given[key] for key in manifest.program(name).inputs if key in given}
                run = run_counted(session, name, own, each_call=bool(each_call))
                if each_call:
                    counted[name].append(run)
                elif each_call is not None:
                    whole[name].append(run.duration)
                clock = run.clock
    finally:
        session.write(kept)
    scale = 1 if clock.counts_cycles else 1_000_000_000 / clock.rate
    return Profile(
        manifest.name,
        manifest.build_id,
        manifest.options.target,
        manifest.options.precision,
        session.facts.workers,
        *_unit(clock),
        tuple(
            ProgramProfile(
                name,
                scale * sum(whole[name]) / runs,
                scale * sum(run.duration for run in counted[name]) / runs,
                tuple(_calls(manifest, manifest.program(name), run, scale) for run in counted[name]),
            )
            for name in names
        ),
    )


def _unit(clock: Clock) -> tuple[str, str]:
    if clock.counts_cycles:
        return "cycles", "cycles of the cores"
    return "ns", "time of this computer, which simulates the device: not a measure of the hardware"


def _calls(manifest: Manifest, program: ProgramEntry, run: RunCounts, scale: float) -> tuple[Call, ...]:
    calls, backward = [], False
    for counts in run.calls:
        entry = program.calls[counts.call]
        calls.append(
            Call(
                program.name,
                counts.call,
                layer_of(manifest, entry.node),
                direction_of(entry, backward),
                entry.op,
                entry.kernel,
                entry.macs,
                _scaled(counts, scale),
            )
        )
        backward |= direction_of(entry, backward) == "loss"
    return tuple(calls)


def _scaled(counts: CallCounts, scale: float) -> CallCounts:
    if scale == 1:
        return counts
    return CallCounts(
        counts.call,
        round(scale * counts.begin),
        round(scale * counts.end),
        None if counts.transfers is None else round(scale * counts.transfers),
        tuple({key: round(scale * value) for key, value in worker.items()} for worker in counts.workers),
    )
