"""Certificates checked by doing again what they certify: exact methods must give the same hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcutrain.data import Samples
from mcutrain.errors import DataError
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.logstore import LogCopy, Pool
from mcutrain.requestlog import reset_optimizer
from mcutrain.runrecords import RunRecord, weight_names
from mcutrain.unlearning.certificate import Certificate
from mcutrain.words import counted

Status = Literal["equal", "differs", "not done"]


@dataclass(frozen=True)
class Recheck:
    """What came of one certificate, by its line in the file (from 1)."""

    line: int
    status: Status
    reason: str
    samples: int = 0


def recheck(
    certificates: Sequence[Certificate],
    log: LogCopy,
    learner: Learner,
    x: Array | Samples,
    y: Array | Samples,
    on_run: Callable[[int, RunRecord], None] | None = None,
) -> list[Recheck]:
    """Train each certificate's runs again, from the build's own weights, without what was forgotten by then.

    Nothing of the device is used but its log: the runs' options, seeds and sample
    hashes, from the copy in the build directory.

    Args:
        certificates: of the whole chain.
        log: its copy.
        learner: of the same build, fresh from the factory, which it is again at the end; any backend,
            as all give the same bits.
        x: the training data, ``[n, *input]``; samples forgotten by a certificate need not be in it.
        y: labels or targets.
        on_run: called with line and run as each begins.
    """
    factory = learner.executor.read(_written(learner))
    start = weights_hash(learner)
    pool = Pool(learner, log.salt, x, y)
    through: dict[str, int] = {}
    results = []
    for line, certificate in enumerate(certificates, 1):
        text = certificate.text
        for sample in text["samples"]:
            through[sample] = max(through.get(sample, 0), int(text["runs"]))
        if text["honesty"] != "exact":
            reason = f"{text['method']} is not exact: there is no hash to expect"
            results.append(Recheck(line, "not done", reason))
        elif text["method"] != "rollback":
            results.append(Recheck(line, "not done", f"{text['method']} does not work on logged runs"))
        else:
            learner.executor.write(factory)
            results.append(_train_again(line, certificate, log, learner, pool, through, start, on_run))
            inexact = any(c.text["honesty"] != "exact" for c in certificates[:line])
            if results[-1].status == "differs" and inexact:
                reason = "an earlier method that is not exact changed the weights it began with"
                results[-1] = replace(results[-1], status="not done", reason=reason)
    learner.executor.write(factory)
    return results


def weights_hash(learner: Learner) -> str:
    """SHA-256 of the trained parameters as a device computes it, in hexadecimal."""
    names = weight_names(learner.manifest)
    got = learner.executor.read(names)
    parts = [got[name].astype(got[name].dtype.newbyteorder("<")).tobytes() for name in names]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _train_again(
    line: int,
    certificate: Certificate,
    log: LogCopy,
    learner: Learner,
    pool: Pool,
    through: dict[str, int],
    start: str,
    on_run: Callable[[int, RunRecord], None] | None,
) -> Recheck:
    done: dict[str, Any] = certificate.text["done"]
    runs = [replace(run, done=done[str(run.number)]) for run in log.runs if str(run.number) in done]
    if not runs or len(runs) != len(done):
        return Recheck(line, "not done", "the log does not have its runs")
    if runs[0].start != start:
        return Recheck(line, "not done", "the first run did not begin with the build's own weights")
    samples = 0
    for run in runs:
        exclude = [i for i, s in enumerate(run.hashes) if through.get(s.hex(), 0) >= run.number]
        try:
            data = pool.take(run, exclude)
        except DataError as error:
            return Recheck(line, "not done", error.reason, samples)
        if on_run:
            on_run(line, run)
        reset_optimizer(learner)
        options = {**run.options(), "exclude": exclude, "span": (0, run.done)}
        samples += learner.train(*data, **options).samples
    found = weights_hash(learner)
    wanted = certificate.record.after.hex()
    if found == wanted:
        return Recheck(
            line,
            "equal",
            f"{counted(samples, 'sample')} trained again: weights {found[:16]}…",
            samples,
        )
    return Recheck(line, "differs", f"the weights are {found[:16]}…, certified are {wanted[:16]}…", samples)


def _written(learner: Learner) -> list[str]:
    return [t.name for t in learner.manifest.tensors if t.trained or t.kind == "state"]
