"""The run log of a device: what it was trained on, which states it can go back to, what it forgot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain.data import Samples
from mcutrain.errors import DataError, DivergedError, McutrainError, OptionError, StoreError
from mcutrain.events import Event, StepEvent, Training
from mcutrain.executor import Array
from mcutrain.hoststore import HostStore
from mcutrain.interrupt import between_steps
from mcutrain.learning import Learner
from mcutrain.logstore import RUN, SNAPSHOT
from mcutrain.requestlog import RequestLog
from mcutrain.runrecords import (
    RunRecord,
    state_names,
    thinned,
)
from mcutrain.store import Store
from mcutrain.words import counted
from mcutrain.work import Stopwatch

if TYPE_CHECKING:
    from mcutrain.build import Build

#: Copies of the log in a build's state folder, of its device and of its reference.
COPY, REFERENCE_COPY = "log.json", "reference.json"
#: Share of a store that snapshots take when no budget is given: a request writes new ones beside the old.
_BUDGET_SHARE = 3
#: Entries beside runs and snapshots: salt, state, forgotten, requests, before, certificate, budget, timing,
#: key, chain.
_OTHERS = 10


class RunLog(RequestLog):
    """The log of one device; open it with :meth:`open`.

    Raises:
        StoreError: there is no store, it is another build's, or it and its copy disagree.
    """

    def __init__(self, learner: Learner, store: Store, copy: Path) -> None:
        #: what was found unfinished and put in order when the log was opened, in words
        self.messages: list[str] = []
        super().__init__(learner, store, copy)
        self._recover()

    @classmethod
    def open(cls, build: Build, learner: Learner) -> RunLog:
        """The log of the device that ``learner`` drives, which needs ``store=True`` at its start.

        What a power failure left unfinished is put in order first.
        """
        store = learner.store
        if store is None or not store.facts().size:
            raise StoreError(
                "this device has no persistent store",
                "train it in logged runs (--run; in Python, a session with store=True)",
            )
        if learner.rows != 1:
            raise OptionError(
                f"the model takes {learner.rows} samples at a time, which cannot be forgotten one by one",
                "export it with batch size 1",
            )
        name = REFERENCE_COPY if isinstance(store, HostStore) else COPY
        return cls(learner, store, build.state_folder / name)

    # ---- training

    def record_run(
        self,
        name: str,
        x: Array | Samples,
        y: Array | Samples,
        *,
        epochs: int = 1,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        batch: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        budget: int | None = None,
        resume: bool = False,
        allow_forgotten: bool = False,
        validation: tuple[Array | Samples, Array | Samples] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Training:
        """Train as :meth:`Learner.train` does, logged: from the state of the store, the optimizer new.

        The run can be undone for any of its samples.  Ctrl-C ends it between two
        steps, and it is kept as far as it came (``resume`` goes on from there);
        a second Ctrl-C, a divergence or a power failure leaves the state before it.

        Args:
            name: of the run, one that no earlier run has (with ``resume``, that of the last run).
            x: samples ``[n, *input]``; with ``resume`` any that contain the run's.
            y: labels or targets.
            budget: bytes that snapshots may take, remembered for later runs.
            allow_forgotten: train samples that were forgotten.

        Raises:
            DataError: samples that do not fit, or that were forgotten.
            OptionError: a name in use, nothing to resume, bad options.
            DivergedError, KeyboardInterrupt: after the log was brought up to date.
        """
        hashes = self.sample_hashes(x, y)
        steps = epochs * -(-len(hashes) // batch)
        options = (epochs, lr, momentum, weight_decay, batch, seed, shuffle)
        run = RunRecord(len(self.runs) + 1, name, "open", *options, 0, steps, hashes=tuple(hashes))
        self._check_name(run, resume)
        exclude: list[int] = []
        if resume:
            last = self.runs[-1]
            if last.options() != run.options():
                begun = ", ".join(f"{k} {v}" for k, v in last.options().items() if run.options()[k] != v)
                raise OptionError(f"run '{name}' was begun with {begun}", "give the same options")
            run, exclude = replace(last, status="open"), self.excluded(last)
            x, y = self.pool(x, y).take(run, exclude)
        else:
            self._check_forgotten(hashes, allow_forgotten)
        self.restore()
        run = self._open_run(run, budget)
        return self._train(run, exclude, x, y, validation, on_event)

    def _check_name(self, run: RunRecord, resume: bool) -> None:
        if resume:
            if not self.runs or self.runs[-1].name != run.name or self.runs[-1].status != "interrupted":
                raise OptionError(
                    f"there is no interrupted run '{run.name}' to resume",
                    "only the last run can be resumed, and only when it was interrupted",
                )
        elif any(known.name == run.name for known in self.runs if known.trained):
            raise OptionError(f"there is a run '{run.name}' already", "give this one another name")

    def _check_forgotten(self, hashes: Sequence[bytes], allowed: bool) -> None:
        found = [i for i, sample in enumerate(hashes) if self.forgotten(sample)]
        if found and not allowed:
            raise DataError(
                f"the model has forgotten {counted(len(found), 'sample')} of these {len(hashes)}"
                f" (the first is sample {found[0]})",
                "leave them out, or give --allow-forgotten to learn them again",
            )

    def _open_run(self, run: RunRecord, budget: int | None) -> RunRecord:
        """Say in the store that a run begins, and keep the state before it."""
        store = self.store
        resumed = len(self.runs) >= run.number
        run = run if resumed else replace(run, start=self.weights_hash())
        entries = store.entries()
        store.begin()
        if budget is not None:
            store.put("budget", str(budget).encode())
        if "salt" not in entries:
            store.put("salt", self.salt)
        if not resumed:
            if "state" not in entries:
                self.reset_optimizer()
                store.keep("state", state_names(self.manifest))
            interrupted = bool(self.runs) and self.runs[-1].status == "interrupted"
            kept = thinned([*self.snapshots(), run.number], self._most_snapshots(budget))
            if run.number in kept:
                if interrupted:
                    self.reset_optimizer()
                    store.keep(f"{SNAPSHOT}{run.number}", state_names(self.manifest))
                else:
                    store.link("state", f"{SNAPSHOT}{run.number}")
            for number in set(self.snapshots()) - set(kept):
                store.delete(f"{SNAPSHOT}{number}")
            self.reset_optimizer()
        store.put(f"{RUN}{run.number}", run.encode())
        self.runs[run.number - 1 :] = [run]
        self._commit()
        return run

    def _most_snapshots(self, budget: int | None) -> int:
        """How many snapshots may be kept with one more run: in the budget, the store's list, and its flash.

        Raises:
            StoreError: the list has no room for the run, or the flash none for a request to forget it.
        """
        facts, size = self.store.facts(), self.snapshot_size()
        runs = facts.most_entries - _OTHERS
        remedy = "save the weights with `mcutrain pull`, and go on with them in another build directory"
        if len(self.runs) + 2 > runs:
            raise StoreError(
                f"the store has room for {counted(runs - 1, 'run')} and has logged {len(self.runs)}",
                remedy,
            )
        flash = (facts.free + size * len(self.snapshots()) - self.spare()) // size
        if flash < 1:
            raise StoreError("the flash has no room for one more run and for a request to forget it", remedy)
        return min(self.budget(budget) // size, runs - len(self.runs) - 1, flash)

    def budget(self, given: int | None = None) -> int:
        """Bytes that snapshots may take."""
        if given is not None:
            return given
        if "budget" in self.store.entries():
            return int(self.store.read("budget"))
        return self.store.facts().size // _BUDGET_SHARE

    def _train(
        self,
        run: RunRecord,
        exclude: Sequence[int],
        x: Array | Samples,
        y: Array | Samples,
        validation: tuple[Array | Samples, Array | Samples] | None,
        on_event: Callable[[Event], None] | None,
    ) -> Training:
        first = done = run.done
        per_epoch = run.steps // max(run.epochs, 1)

        def note(event: Event) -> None:
            nonlocal done
            if isinstance(event, StepEvent):
                done = (event.epoch - 1) * per_epoch + event.step
            watch.note(event)
            if on_event:
                on_event(event)
            watch.resume(event)
            if isinstance(event, StepEvent):
                stop.check()

        watch = Stopwatch(self.learner.executor)
        try:
            with between_steps() as stop:
                training = self.learner.train(
                    x,
                    y,
                    **run.options(),
                    exclude=exclude,
                    span=(first, None),
                    validation=validation,
                    on_event=note,
                )
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt) and stop.came and not stop.forced
            status = "diverged" if isinstance(error, DivergedError) else "lost"
            with suppress(McutrainError):  # a device that is gone finds out at its next start
                self._end_run(run, "interrupted" if stopped else status, done if stopped else first, watch)
            raise
        self._end_run(run, "complete", run.steps, watch)
        if stop.came:
            raise KeyboardInterrupt
        return training

    def _end_run(self, run: RunRecord, status: str, done: int, watch: Stopwatch) -> None:
        """Keep what a run has come to; one that is lost goes back to where it began."""
        if status in ("lost", "diverged"):
            # a run that was resumed is still there as far as it had come before
            status = "interrupted" if done else status
            self.restore()
            self._put_run(replace(run, status=status, done=done))
            self._commit()
            return
        taken = watch.pace(*replace(run, done=done).visits(self.excluded(run), run.done))
        run = replace(run, status=status, done=done, weights=self.weights_hash(), **taken)
        self._put_run(run)
        self.store.keep("state", state_names(self.manifest, momentum=status == "interrupted"))
        self.store.put("timing", self.meter.encode())
        self._commit()

    def _put_run(self, run: RunRecord) -> None:
        self.store.begin()
        self.store.put(f"{RUN}{run.number}", run.encode())
        self.runs[run.number - 1] = run

    def _recover(self) -> None:
        """Put in order what a power failure left: the store is before or after what it cut off."""
        changed = False
        if self.runs and self.runs[-1].status == "open":
            run = self.runs[-1]
            status = "interrupted" if run.done else "lost"
            self._put_run(replace(run, status=status))
            self.messages.append(
                f"run '{run.name}' ended with the power: the model is as it was "
                + (f"after its step {run.done}" if run.done else "before it")
            )
            changed = True
        if self.requests and self.requests[-1].status == "begun":
            request = self.requests[-1]
            if not changed:
                self.store.begin()
            self._put_request(replace(request, status="interrupted", after=request.before))
            self.messages.append(
                f"request {request.number} ({request.method}) was interrupted: "
                "the model is as it was before it"
            )
            changed = True
        if changed:
            self._commit()
        elif self.sequence:
            self._write_copy()
        if self.requests and self.requests[-1].status == "done":
            request = self.requests[-1]
            self._certify()
            self.messages.append(
                f"request {request.number} ({request.method}) was done when the power failed: "
                "the model is as after it, and its certificate has been made now"
            )
