"""A request to forget, from its first word in the journal to its certificate.

Whatever happens in between, the device is in the state before the request or
in that after it, and its journal says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain.errors import DataError, McutrainError
from mcutrain.runlog import RunLog
from mcutrain.unlearning.base import Method, Outcome, Task
from mcutrain.unlearning.certificate import Certificate, append, catch_up, make_text, path_for, state_hash
from mcutrain.words import counted

if TYPE_CHECKING:
    from mcutrain.build import Build


@dataclass(frozen=True)
class Forgetting:
    """What became of a request.

    ``outcome`` is None when all samples had been forgotten before (nothing was
    done); without a ``certificate`` the device is as it was before.
    """

    outcome: Outcome | None
    certificate: Certificate | None = None
    #: samples forgotten by this request, and of those asked for that had been before
    forgotten: int = 0
    already: int = 0


def forget(
    log: RunLog,
    method: Method,
    task: Task,
    *,
    build: Build | None = None,
    certificates: Path | None = None,
) -> Forgetting:
    """Run a method as a logged request.

    Args:
        log: of the device that ``task.learner`` drives.
        method: what to run; ``rollback`` finds its snapshots in ``log``.
        task: its ``samples``, or its ``forget`` set, say what to forget; ``retain`` is the data to keep.
        build: whose firmware the certificate names, by default ``task.build``.
        certificates: file to which the certificate is appended, by default one in the build directory.

    Raises:
        DataError: a sample was never trained: nothing is done.
        McutrainError: what the method raises; the device is then as it was before.
    """
    build = build or task.build
    if certificates is None and build is not None:
        certificates = path_for(build, log)
    if certificates is not None:
        catch_up(log, certificates)
    asked = list(dict.fromkeys(task.samples or log.sample_hashes(*task.forget)))
    label = f"{method.name}:{method.variant(task.variant).name}"
    todo = log.begin_request(label, asked)
    if not todo:
        return Forgetting(None, None, 0, len(asked))
    try:
        before = state_hash(log)
        outcome = method.run(replace(task, log=log))
        if not outcome.changed:
            log.revert_request()
            return Forgetting(outcome, None, 0, len(asked) - len(todo))
        text = make_text(log, todo, outcome, build, before)
        packed = log.end_request(todo, text)
    except BaseException:
        with suppress(McutrainError):  # a device that is gone finds out at its next start
            if log.pending is not None and log.pending.status == "begun":
                log.revert_request()
        raise
    certificate = Certificate.of(text, packed)
    if certificates is not None:
        append(certificates, certificate)
    return Forgetting(outcome, certificate, len(todo), len(asked) - len(todo))


def select(log: RunLog, prefixes: Sequence[str]) -> list[bytes]:
    """The samples of the log whose hashes begin with these hexadecimal digits (8 or more), one each.

    Raises:
        DataError: no sample's hash does, or several do.
    """
    known = {s.hex(): s for run in log.runs if run.trained for s in run.hashes}
    chosen = []
    for prefix in prefixes:
        found = [s for text, s in known.items() if text.startswith(prefix.lower())]
        if len(prefix) < 8 or len(found) != 1:
            reason = f"fits {counted(len(found), 'sample')} of the log" if found else "is of no logged sample"
            if len(prefix) < 8:
                reason = "is too short"
            raise DataError(f"hash '{prefix}' {reason}", "`mcutrain info --log --json` lists the hashes")
        chosen.append(found[0])
    return chosen
