"""What a rollback will take, from what the log has seen the same things take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcutrain.runlog import RunLog
from mcutrain.work import Span

if TYPE_CHECKING:
    from mcutrain.unlearning.rollback import Plan, Rerun

#: Small entries that a request writes beside the runs' records: its journal twice, what was forgotten, the
#: certificate's text, timing, and at its begin the journal.
_RECORDS = 6
#: Bytes of a certificate's text and record, about.
_TEXT = 2000
#: Erasing a block, where none was seen yet, against finding one blank: written once, and read twice.
_ERASURE = 3.0


def expected(log: RunLog, plan: Plan) -> Span:
    """Seconds and ticks of a request that carries out ``plan``, scoring apart."""
    training = sum((_rerun(log, rerun) for rerun in plan.reruns), Span())
    span, runs, made = log.meter.span, len(plan.reruns), len(plan.spoiled)
    parts = [
        # at the request's begin, at the snapshot, and before each run
        span("reset") * (2 + runs),
        span("restore", "hash") * 2,
        span("keep") * (made + 1),
        # before and after each run, in the certificate's text, and after the request
        span("hash") * (2 * runs + 3),
        span("digest", "hash"),
        span("certify") if log.meter.knows("certify") else _certificate(log),
        span("put") * (runs + _RECORDS),
        span("begin") * 3,
        span("commit") * 3,
        span("entries") * 7,
        span("facts") * (2 + 2 * made),
    ]
    return sum(parts, training) + _purge(log, plan)


def _certificate(log: RunLog) -> Span:
    """The first certificate: weights and text are hashed, and it is written."""
    nbytes = sum(log.manifest.tensor(name).nbytes for name in log.weights)
    return log.meter.span("hash") * (1 + _TEXT / nbytes) + log.meter.span("put")


def _rerun(log: RunLog, rerun: Rerun) -> Span:
    """A run trained again: its ticks for each sample and step, and its seconds in their proportion.

    A sample is the same work in every run, and steps are in those of the same batch; where others
    on the machine had a part in what one took, the middle one of them tells more.
    """
    run = rerun.run
    timed = [other for other in log.runs if other.trained and other.pace]
    alike = [other for other in timed if other.batch == run.batch]
    if not alike:
        return Span()
    sample = float(np.median([other.sample_ticks for other in timed]))
    step = float(np.median([other.step_ticks for other in alike]))
    pace = float(np.median([other.pace for other in alike]))
    samples, steps = run.visits()
    before = sample * samples + step * steps
    now = sample * rerun.samples + step * rerun.steps
    return Span(pace * samples * (now / before) if before else pace * rerun.samples, now)


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
