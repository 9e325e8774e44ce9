"""What a rollback will take, from what the log has seen the same things take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcutrain.runlog import RunLog
from mcutrain.work import Span

if TYPE_CHECKING:
    from mcutrain.unlearning.rollback import Plan, Rerun

#: Small entries that a request writes beside the runs' records: its journal twice, what was forgotten, the
#: certificate's text, timing, and at its begin the journal.
_RECORDS = 6
#: Erasing a block, where none was seen yet, against finding one blank: written once, and read twice.
_ERASURE = 3.0


def expected(log: RunLog, plan: Plan) -> Span:
    """Seconds and ticks of a request that carries out ``plan``, scoring apart."""
    training = sum((_rerun(rerun) for rerun in plan.reruns), Span())
    span, runs, made = log.meter.span, len(plan.reruns), len(plan.spoiled)
    parts = [
        # at the request's begin, at the snapshot, and before each run
        span("reset") * (2 + runs),
        span("restore", "hash") * 2,
        span("keep") * (made + 1),
        # before and after each run, and in the certificate
        span("hash") * (2 * runs + 3),
        span("digest", "hash"),
        span("certify", "hash"),
        span("put") * (runs + _RECORDS),
        span("commit") * 3,
    ]
    return sum(parts, training) + _purge(log, plan)


def _rerun(rerun: Rerun) -> Span:
    """A run trained again: its ticks for each sample and step, and its seconds in their proportion."""
    run = rerun.run
    samples, steps = run.visits()
    before = run.sample_ticks * samples + run.step_ticks * steps
    now = run.sample_ticks * rerun.samples + run.step_ticks * rerun.steps
    share = now / before if before else rerun.samples / max(samples, 1)
    return Span(run.pace * samples * share, now)


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
