"""``rollback``: go back to the state before a sample was trained, and train again without it.

Exact unlearning by sliced training (SISA: Bourtoule et al., *Machine
Unlearning*, 2021; S3T: Chowdhury et al., 2024).  Training happens in logged
runs; the device keeps the exact state before some of them.  To forget samples
the state before the first run that holds one is restored, and that run and all
after it are trained again, each with its own options and order, the forgotten
samples left out.  What held them is then erased.

*Training without a sample* means: the same runs, in each epoch the same order,
every other sample in the same batch; a batch is the mean over the samples that
remain in it, and one of which none remains is no step.  The result has the
bits of a device that was trained so from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcutrain.errors import OptionError, StoreError
from mcutrain.events import Evaluation, Event, StepEvent
from mcutrain.logstore import SNAPSHOT, Pool
from mcutrain.manifest import Manifest
from mcutrain.runlog import RunLog
from mcutrain.runrecords import RunRecord, state_names
from mcutrain.unlearning.base import (
    Carrier,
    Cost,
    Labelled,
    Method,
    Outcome,
    Progress,
    Streamed,
    Task,
    Variant,
    register,
)
from mcutrain.unlearning.expected import expected
from mcutrain.unlearning.speed import measure_speed
from mcutrain.words import counted
from mcutrain.work import Stopwatch


@dataclass(frozen=True)
class Rerun:
    """One run that is trained again."""

    run: RunRecord
    #: numbers of the samples that are left out
    exclude: tuple[int, ...]
    samples: int
    steps: int


@dataclass(frozen=True)
class Plan:
    """What a request takes, exactly."""

    #: run before which the snapshot to begin with was kept
    start: int
    reruns: tuple[Rerun, ...]
    #: snapshots that hold the samples
    spoiled: tuple[int, ...]

    @property
    def samples(self) -> int:
        return sum(rerun.samples for rerun in self.reruns)

    @property
    def steps(self) -> int:
        return sum(rerun.steps for rerun in self.reruns)


def make_plan(log: RunLog, samples: Iterable[bytes]) -> Plan:
    """What forgetting ``samples``, which the log holds, takes.

    Raises:
        StoreError: the log holds none of them, or no state before them.
    """
    wanted = set(samples)
    first = log.first_run(wanted)
    earlier = [number for number in log.snapshots() if number <= first]
    if not earlier:
        raise StoreError(f"no snapshot from before run {first} was kept", "train again from the start")
    reruns = []
    for run in log.runs:
        if run.number < earlier[-1] or not run.trained:
            continue
        exclude = tuple(i for i, s in enumerate(run.hashes) if s in wanted or log.left_out(s, run.number))
        reruns.append(Rerun(run, exclude, *run.visits(exclude)))
    return Plan(earlier[-1], tuple(reruns), tuple(log.spoiled(wanted)))


def replay(
    log: RunLog, plan: Plan, pool: Pool, on_event: Callable[[RunRecord, Event], None] | None = None
) -> int:
    """Train the runs of a plan again, in a transaction that the request's end commits.

    Returns the samples trained.

    Raises:
        DataError: a sample is not at hand; nothing has been done then.
        DivergedError: training diverges without the samples.
    """
    data = [pool.take(rerun.run, rerun.exclude) for rerun in plan.reruns]
    store, names = log.store, state_names(log.manifest)
    spare, trained = log.spare(), 0
    log.reset_optimizer()
    store.restore(f"{SNAPSHOT}{plan.start}")
    store.begin()
    for rerun, (x, y) in zip(plan.reruns, data, strict=True):
        run = rerun.run
        log.reset_optimizer()
        # full: one snapshot less, and a later request trains more
        if run.number in plan.spoiled and store.facts().free >= log.snapshot_size() + spare:
            with suppress(StoreError):
                store.keep(f"{SNAPSHOT}{run.number}", names)
                log.remade.append(run.number)
        # weights are what the run before has left: hashing them takes a device long
        start = log.rerun[-1].weights if log.rerun else log.weights_hash()

        def note(event: Event, run: RunRecord = run) -> None:
            if on_event:
                on_event(run, event)

        options = {**run.options(), "exclude": rerun.exclude, "span": (0, run.done)}
        watch = Stopwatch(log.learner.executor)
        training = log.learner.train(x, y, **options, on_event=note)
        trained += training.samples
        taken = watch.pace(rerun.samples, rerun.steps)
        log.rerun.append(replace(run, start=start, weights=log.weights_hash(), **taken))
    return trained


@register
class Rollback(Method):
    """Rollback."""

    name = "rollback"
    summary = "goes back to the state before the samples' first run and trains again without them"
    honesty = "exact"
    variants = (Variant("replay", "every run since then, in its own order"),)
    needs_retain = "all samples of the runs to repeat"
    memory_words = "none; snapshots in flash within --snapshot-budget"
    cost_words = "the runs since the samples came, told exactly beforehand"

    def history(self, variant: str) -> Literal["", "runs", "head"]:
        return "runs"

    def memory(self, manifest: Manifest) -> int:
        return 0

    def cost(self, task: Task) -> Cost:
        log = _log_of(task)
        held = log.held(_samples_of(task, log))
        rate = log.meter.rate
        if not held:
            return Cost(Streamed(), bound=False, seconds=0.0, ticks=0.0, rate=rate)
        plan = make_plan(log, held)
        scored = self._scored(task)
        count = 2 * sum(len(pair[0]) for pair in scored.values())
        at_hand = [pair for pair in (task.retain, task.forget) if pair is not None and len(pair[0])]
        hashed = (0 if task.retain is None else len(task.retain[0])) + (0 if task.samples else 2 * len(held))
        taken = expected(log, plan, at_hand[0] if at_hand else None, hashed)
        if scored:
            x, y = next(iter(scored.values()))
            taken = taken + measure_speed(task.learner, (x, y), inference_only=True).inference * count
        return Cost(
            Streamed(count, plan.samples),
            plan.steps,
            bound=False,
            seconds=taken.seconds,
            ticks=None if rate is None else taken.ticks,
            rate=rate,
        )

    def run(self, task: Task) -> Outcome:
        """Forget, within a request: see :func:`mcutrain.unlearning.requests.forget`."""
        log = _log_of(task)
        if log.pending is None:
            from mcutrain.unlearning.requests import forget

            outcome = forget(log, self, replace(task, log=log)).outcome
            return outcome or _nothing(self, task)
        self.variant(task.variant)
        if task.retain is None:
            raise OptionError(
                "rollback trains the runs again and needs their samples", "give the training data"
            )
        plan = make_plan(log, log.held(_samples_of(task, log)))
        pool = log.pool(*task.retain)
        before = self._score(task)
        done = 0

        def note(run: RunRecord, event: Event) -> None:
            nonlocal done
            if isinstance(event, StepEvent) and task.on_event:
                done += 1
                phase = f"repeating run '{run.name}'"
                task.on_event(Progress(phase, done, plan.steps, f"loss {event.loss:.4f}"))

        trained = replay(log, plan, pool, note)
        after = self._score(task)
        return Outcome(
            self.name,
            self.variant(task.variant).name,
            self.honesty,
            True,
            f"repeated {counted(len(plan.reruns), 'run')} from the state before run {plan.start}",
            {
                "start": plan.start,
                "runs": len(plan.reruns),
                "predicted_samples": plan.samples,
                "snapshots_remade": len(log.remade),
            },
            task.seed,
            Streamed(sum(e.samples for e in (*before.values(), *after.values())), trained),
            plan.steps,
            before,
            after,
            _carriers(log, plan),
        )

    def _score(self, task: Task) -> dict[str, Evaluation]:
        return {name: task.learner.evaluate(*pair) for name, pair in self._scored(task).items()}

    @staticmethod
    def _scored(task: Task) -> dict[str, Labelled]:
        """What is scored before and after."""
        pairs = {"forget": None if task.samples else task.forget, "validation": task.validation}
        return {name: pair for name, pair in pairs.items() if pair is not None}


def _nothing(method: Method, task: Task) -> Outcome:
    variant = method.variant(task.variant).name
    stop = "these samples were forgotten already"
    return Outcome(method.name, variant, method.honesty, False, stop, {}, task.seed, Streamed(), 0)


def _carriers(log: RunLog, plan: Plan) -> tuple[Carrier, ...]:
    """Where else the samples were, and what became of it."""
    note = f"of runs {', '.join(map(str, plan.spoiled))}" if plan.spoiled else "none held them"
    carriers = [
        Carrier("weights", "recomputed", f"from the state before run {plan.start}"),
        Carrier("snapshots", "recomputed", note),
        Carrier("optimizer state", "recomputed", "it starts anew with each run"),
        Carrier("flash", "cleared", "what held earlier states is erased"),
    ]
    suffixes: dict[str, Any] = {".importance": "importance", ".gram": "Gram matrix"}
    for suffix, name in suffixes.items():
        if any(t.name.endswith(suffix) for t in log.manifest.tensors):
            carriers.append(Carrier(name, "recomputed", f"as it was before run {plan.start}"))
    return tuple(carriers)


def _log_of(task: Task) -> RunLog:
    if task.log is not None:
        return task.log
    if task.build is None:
        raise OptionError("rollback needs the run log", "give the task its build or its log")
    return RunLog.open(task.build, task.learner)


def _samples_of(task: Task, log: RunLog) -> list[bytes]:
    return list(task.samples) or log.sample_hashes(*task.forget)
