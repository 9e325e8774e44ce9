"""Certificates checked by doing again what they certify: exact methods must give the same hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcutrain.data import Samples
from mcutrain.errors import DataError, McutrainError
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.logstore import LogCopy, Pool
from mcutrain.requestlog import reset_optimizer
from mcutrain.runrecords import RunRecord, weight_names
from mcutrain.unlearning.analytic_head import AnalyticHead
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
    """Do again what exact certificates say, from the build's own weights, without what was forgotten by then.

    ``rollback`` trains its runs again; ``analytic-head`` counts and solves again what its last refit counted.

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
    counted_in: dict[str, int] | None = None
    through: dict[str, int] = {}
    results = []
    for line, certificate in enumerate(certificates, 1):
        text = certificate.text
        for sample in text["samples"]:
            through[sample] = max(through.get(sample, 0), int(text["runs"]))
        if text["honesty"] != "exact":
            reason = f"{text['method']} is not exact: there is no hash to expect"
            results.append(Recheck(line, "not done", reason))
        elif text["method"] == "analytic-head":
            if text["variant"] == "refit":
                counted_in = text["done"]
            learner.executor.write(factory)
            results.append(_count_again(line, certificate, log, learner, pool, counted_in, through))
        else:
            learner.executor.write(factory)
            results.append(_train_again(line, certificate, log, learner, pool, through, start, on_run))
            other = any(c.text["method"] != "rollback" for c in certificates[:line])
            if results[-1].status == "differs" and other:
                reason = "an earlier method, which trains no runs again, changed the weights it began with"
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
    return _compared(line, certificate, learner, f"{counted(samples, 'sample')} trained again", samples)


def _count_again(
    line: int,
    certificate: Certificate,
    log: LogCopy,
    learner: Learner,
    pool: Pool,
    counted_in: dict[str, int] | None,
    through: dict[str, int],
) -> Recheck:
    """The head from the samples of the runs ``counted_in`` its last refit, without those forgotten since."""
    if counted_in is None:
        return Recheck(line, "not done", "no certificate before it says what the head had counted")
    kept = {
        sample
        for run in log.runs
        if counted_in.get(str(run.number))
        for sample in run.hashes
        if through.get(sample.hex(), 0) < run.number
    }
    samples, targets = pool.having(kept)
    settings = certificate.text["parameters"]
    if len(samples) != settings.get("samples_left"):
        reason = f"the data has {len(samples)} of {settings.get('samples_left')} samples that the head held"
        return Recheck(line, "not done", reason)
    try:
        head = AnalyticHead(learner)
        head.rescale(settings["feature_scale"], settings["target_scale"])
        head.clear()
        head.learn(*learner.training_set(samples, targets))
        head.solve(settings["ridge"])
    except (McutrainError, KeyError, TypeError, ValueError) as error:
        return Recheck(line, "not done", f"it cannot be repeated: {error}")
    what = f"{counted(len(samples), 'sample')} counted again"
    return _compared(line, certificate, learner, what, len(samples))


def _compared(line: int, certificate: Certificate, learner: Learner, what: str, samples: int) -> Recheck:
    found = weights_hash(learner)
    wanted = certificate.record.after.hex()
    if found == wanted:
        return Recheck(line, "equal", f"{what}: weights {found[:16]}…", samples)
    return Recheck(line, "differs", f"the weights are {found[:16]}…, certified are {wanted[:16]}…", samples)


def _written(learner: Learner) -> list[str]:
    return [t.name for t in learner.manifest.tensors if t.trained or t.kind == "state"]
