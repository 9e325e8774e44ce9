"""What a rollback will take: what the same things took in the log, at the speed that the device has now."""

from __future__ import annotations

import time
from itertools import cycle, islice
from statistics import median
from typing import TYPE_CHECKING

from mcutrain.runlog import RunLog
from mcutrain.runrecords import RunRecord
from mcutrain.unlearning.base import Labelled
from mcutrain.work import TRAINING, Span, Stopwatch

if TYPE_CHECKING:
    from mcutrain.unlearning.rollback import Plan, Rerun

#: Small entries that a request writes beside the runs' records: its journal twice, what was forgotten, the
#: certificate's text, timing, and at its begin the journal.
_RECORDS = 6
#: Bytes of a certificate's text and record, about.
_TEXT = 2000
#: Erasing a block, where none was seen yet, against finding one blank: written once, and read twice.
_ERASURE = 3.0
#: Seconds that samples are timed for, the first of them to warm up; about how many pieces that shall be where
#: a sample takes at most one, and how many there must be; and how many different samples are timed.
_PROBE, _WARM, _PIECES, _FEWEST, _SAMPLES = 0.6, 0.1, 8, 3, 16
#: By what share of itself a computer's speed changes from one minute to the next, about; a normal variable's
#: deviation against its median one, and the deviation of a median against that of a mean.
_DRIFT, _SIGMA, _MEDIAN = 0.05, 1.48, 1.25
#: How many runs the meter's moving averages are from, about.
_LAST = 3


def expected(log: RunLog, plan: Plan, data: Labelled | None, hashed: int) -> Span:
    """Seconds and ticks of a request that carries out ``plan``, scoring apart.

    Args:
        log: what runs, snapshots, hashes and so on took.
        data: samples to time the device with, if there are any.
        hashed: how many samples will be looked up by their hashes.
    """
    timed = [run for run in log.runs if run.trained and (run.sample_seconds or run.pace)]
    if not timed:
        return Span()
    then = _usual(timed)
    now = _present(log, data, then)
    training = sum((_rerun(timed, rerun, now) for rerun in plan.reruns), Span())
    # what is remembered of all else is from about the last runs
    last = _usual(timed[-_LAST:])
    rest = _rest(log, plan, hashed)
    drift = Span(_ratio(now.seconds, last.seconds), _ratio(now.ticks, last.ticks))
    return training + Span(rest.seconds * drift.seconds, rest.ticks * drift.ticks)


def _rest(log: RunLog, plan: Plan, hashed: int) -> Span:
    """All but training, as long as it was when it was measured."""
    span, runs, made = log.meter.span, len(plan.reruns), len(plan.spoiled)
    parts = [
        # at the request's begin, at the snapshot, and before each run
        span("reset") * (2 + runs),
        span("restore", "hash") * 2,
        span("keep") * (made + 1),
        # at the request's begin, before the first run and after each, in the certificate's text, and after it
        span("hash") * (runs + 5),
        span("digest", "hash"),
        span("certify") if log.meter.knows("certify") else _certificate(log),
        span("put") * (runs + _RECORDS),
        span("begin") * 3,
        span("commit") * 3,
        span("copy") * 3,
        span("sample") * hashed,
        span("entries") * 7,
        span("facts") * (2 + 2 * made),
    ]
    return sum(parts, Span()) + _purge(log, plan)


def _certificate(log: RunLog) -> Span:
    """The first certificate: weights and text are hashed, and it is written."""
    nbytes = sum(log.manifest.tensor(name).nbytes for name in log.weights)
    return log.meter.span("hash") * (1 + _TEXT / nbytes) + log.meter.span("put")


def _rerun(timed: list[RunRecord], rerun: Rerun, now: Span) -> Span:
    """A run trained again, where a sample takes ``now``.

    A sample is the same work in every run, and a step in those of the same batch. Where others on the machine
    had a part in what one took, the middle one of them tells more.
    """
    alike = [run for run in timed if run.batch == rerun.run.batch]
    if not alike:
        return now * rerun.samples
    step = Span(
        now.seconds * median(_ratio(run.step_seconds, _seconds(run), 0.0) for run in alike),
        now.ticks * median(_ratio(run.step_ticks, run.sample_ticks, 0.0) for run in alike),
    )
    return now * rerun.samples + step * rerun.steps


def _usual(runs: list[RunRecord]) -> Span:
    """What a sample took in the middle one of some runs."""
    return Span(median(map(_seconds, runs)), median(run.sample_ticks for run in runs))


def _seconds(run: RunRecord) -> float:
    """What a sample took; where nothing counted it apart from steps, with its share of those."""
    return run.sample_seconds or run.pace


def _ratio(value: float, other: float, unknown: float = 1.0) -> float:
    return value / other if other else unknown


def _present(log: RunLog, data: Labelled | None, then: Span) -> Span:
    """What a sample takes now, when it took ``then`` in the log's runs.

    A computer's speed drifts with its clock, its caches, and all else it does. So a few
    samples are timed where the device's clock is one of time and samples are short.
    Weights and optimizer stay as they are; gradients are cleared.
    """
    rate, learner = log.meter.rate, log.learner
    if not rate or not then.ticks or learner.manifest.options.immediate or data is None:
        return then
    usual = max(then.ticks / rate, then.seconds)  # with the link, which may take longer than the device
    if usual * _PIECES > _PROBE:
        return then
    samples, targets = learner.training_set(*(part[:_SAMPLES] for part in data))
    numbers = cycle(range(len(samples)))
    size = max(1, int(_PROBE / usual / (2 * _PIECES)))
    seconds: list[float] = []
    ticks: list[float] = []
    began, passed = time.perf_counter(), 0.0
    while passed < _PROBE or len(ticks) < _FEWEST:
        watch, warm = Stopwatch(learner.executor), passed >= _WARM
        learner.accumulate(samples, targets, islice(numbers, size))
        done = watch.done()
        assert done is not None
        if warm:
            seconds.append(done.waited.get(TRAINING, 0.0) / size)
            ticks.append(done.programs[TRAINING].time / size)
        passed = time.perf_counter() - began
    learner.executor.run("zero_gradients")
    return Span(_between(then.seconds, seconds), _between(then.ticks, ticks))


def _between(known: float, found: list[float]) -> float:
    """A value that was ``known`` and may have drifted, and that is now ``found`` as exactly as that scatters.

    The middle one of those found is weighed against what was known by their variances,
    where the drift's is the usual one, or what is seen of it when that is more.
    """
    middle = median(found)
    scatter = _SIGMA * median(abs(value - middle) for value in found)
    error = (_MEDIAN * scatter) ** 2 / len(found)
    drift = max((_DRIFT * known) ** 2, (middle - known) ** 2 - error)
    return known + (middle - known) * (drift / (drift + error) if drift else 1.0)


def _purge(log: RunLog, plan: Plan) -> Span:
    """Nothing but the newest entries is left: blank blocks are read, others erased."""
    facts = log.store.facts()
    blank = log.meter.block("blank")
    if not blank:
        return log.meter.span("purge")
    old = log.snapshot_size() // facts.block * (len(plan.spoiled) + 1) + len(plan.reruns) + _RECORDS
    free = facts.free // facts.block
    ticks = max(free - old, 0) * blank + old * (log.meter.block("erased") or _ERASURE * blank)
    keep = log.meter.span("keep")
    return Span(ticks * keep.seconds / keep.ticks if keep.ticks else 0.0, ticks)
