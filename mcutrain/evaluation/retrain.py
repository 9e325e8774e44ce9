"""Models trained alike on other data: the retrained models, and the attack's shadow models.

They are trained natively, several processes at a time, and kept under a name that says all
that decides their weights, so that an evaluation that was interrupted goes on and a second
one is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from mcutrain.build import Build
from mcutrain.compiler.pipeline import compile_model
from mcutrain.errors import BuildError, DataError, SimulatorError
from mcutrain.evaluation.schedule import Schedule
from mcutrain.evaluation.worker import write_arrays
from mcutrain.executor import Array
from mcutrain.manifest import Options

#: Options that change no bit of training.
_INDIFFERENT = ("target", "workers", "guard", "unlearn")
#: Seconds that a process has to end after it was told to.
_GRACE = 5.0


@dataclass(frozen=True)
class Plan:
    """One model to train: on which rows of the data, with which seed."""

    #: for messages: ``retrained 2 of 3``
    title: str
    rows: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Step:
    """A model under way has finished an epoch, or is there (``done == total``)."""

    title: str
    done: int
    total: int
    #: models that are there, of how many
    models: int
    of: int
    #: whether the model was found and not trained
    cached: bool = False


def cache_folder() -> Path:
    """Where models are kept unless another folder is named."""
    return Path(platformdirs.user_cache_dir("mcutrain"), "models")


def native_twin(build: Build, folder: Path) -> Build:
    """The same model and options as ``build`` for this computer: same Programs, same bits.

    It is compiled into ``folder`` at first use.
    """
    options = replace(build.manifest.options, target="native", workers=1)
    if options == build.manifest.options:
        return build
    twin = folder / f"native-{build.manifest.build_id[:24]}"
    with suppress(BuildError):
        return Build.open(twin)
    folder.mkdir(parents=True, exist_ok=True)
    compile_model(build.model_path, options, twin)
    return Build.open(twin)


class Trainer:
    """Trains :class:`Plan` after :class:`Plan` of one build and one set of samples.

    Args:
        build: a native build.
        x: samples as float32 ``[n, …]``; ``y`` their labels or targets.
        start: weights to start from by ONNX name, those of the build when None.
        processes: how many train at a time, by default as many as there are processors and plans.
        cache: folder of the models.
    """

    def __init__(
        self,
        build: Build,
        x: Array,
        y: Array,
        schedule: Schedule,
        *,
        start: Mapping[str, Array] | None = None,
        processes: int | None = None,
        cache: Path | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self._build = build
        self._x, self._y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        self._schedule = schedule
        self._start = dict(start) if start is not None else None
        self._processes = processes
        self._cache = cache or cache_folder()
        self._on_step = on_step
        self._lock = threading.Lock()

    def path(self, plan: Plan) -> Path:
        """Where the plan's weights are kept, by a hash of model, options, start, data, schedule and seed."""
        digest = hashlib.sha256(self._facts(plan.seed).encode())
        rows = np.array(plan.rows, int)
        digest.update(_digest({"x": self._x[rows], "y": self._y[rows]}).encode())
        return self._cache / f"{digest.hexdigest()[:40]}.npz"

    def identity(self, seed: int) -> str:
        """A hash, in hexadecimal, of all that decides the weights of any model made here with ``seed``."""
        whole = _digest({"x": self._x, "y": self._y})
        return hashlib.sha256((self._facts(seed) + whole).encode()).hexdigest()

    def _facts(self, seed: int) -> str:
        default = asdict(Options())
        options = {k: v for k, v in asdict(self._build.manifest.options).items() if v != default[k]}
        facts = {
            "numerics": self._build.manifest.numerics,
            "model": hashlib.sha256(self._build.model_path.read_bytes()).hexdigest(),
            # Bits depend neither on who computes them nor on what else a build can do.
            "options": {k: v for k, v in options.items() if k not in _INDIFFERENT},
            "schedule": self._schedule.as_json(),
            "seed": seed,
            "start": _digest(self._start) if self._start is not None else "",
        }
        return json.dumps(facts, sort_keys=True)

    def train(self, plans: Sequence[Plan]) -> list[dict[str, Array]]:
        """The weights of every plan by ONNX name, trained or found.

        Raises:
            McutrainError: a model diverged, or a process died; others that were finished are kept.
            KeyboardInterrupt: after all processes have ended.
        """
        paths = [self.path(plan) for plan in plans]
        whole = {path for path in paths if _whole(path)}
        missing = [(p, path) for p, path in zip(plans, paths, strict=True) if path not in whole]
        for plan, path in zip(plans, paths, strict=True):
            if path in whole:
                self._say(plan, 1, 1, len(plans) - len(missing), len(plans), cached=True)
        if missing:
            self._run(missing, len(plans))
        return [_load(path) for path in paths]

    def _say(self, plan: Plan, done: int, total: int, models: int, of: int, cached: bool = False) -> None:
        if self._on_step is not None:
            self._on_step(Step(plan.title, done, total, models, of, cached))

    def _run(self, missing: Sequence[tuple[Plan, Path]], of: int) -> None:
        data = self._cache / f"data-{_digest({'x': self._x, 'y': self._y})[:24]}.npz"
        if not _whole(data):
            write_arrays(data, {"x": self._x, "y": self._y})
        start = None
        if self._start is not None:
            start = self._cache / f"start-{_digest(self._start)[:24]}.npz"
            if not _whole(start):
                write_arrays(start, self._start)
        waiting: queue.SimpleQueue[tuple[Plan, dict[str, Any]]] = queue.SimpleQueue()
        for plan, path in missing:
            job = {
                "build": str(self._build.directory.resolve()),
                "data": str(data),
                "start": str(start) if start else None,
                "rows": list(map(int, plan.rows)),
                "schedule": self._schedule.as_json(),
                "seed": plan.seed,
                "out": str(path),
            }
            waiting.put((plan, job))
        self._work(waiting, len(missing), of)

    def _work(self, waiting: queue.SimpleQueue[tuple[Plan, dict[str, Any]]], count: int, of: int) -> None:
        most = self._processes or os.cpu_count() or 1
        failures: list[BaseException] = []
        finished = of - count
        workers = [_start_worker() for _ in range(min(most, count))]

        def serve(worker: subprocess.Popen[str]) -> None:
            nonlocal finished
            while not failures:
                try:
                    plan, job = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    for done, total in _converse(worker, plan, job):
                        with self._lock:
                            finished += done == total
                            self._say(plan, done, total, finished, of)
                except BaseException as error:
                    failures.append(error)

        threads = [threading.Thread(target=serve, args=(w,), daemon=True) for w in workers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive() and not failures:
                    thread.join(0.2)
        finally:
            for worker in workers:
                _stop(worker)
        if failures:
            raise failures[0]


def _start_worker() -> subprocess.Popen[str]:
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # A session of its own: a terminal's Ctrl-C is handled here, which then ends the process.
    return subprocess.Popen(
        [sys.executable, "-m", "mcutrain.evaluation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _converse(worker: subprocess.Popen[str], plan: Plan, job: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Give a job to a process and follow it; the last pair has ``done == total``."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    with suppress(BrokenPipeError):  # seen below as an end without an answer
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
    for line in worker.stdout:
        message = json.loads(line)
        if "error" in message:
            raise DataError(f"{plan.title}: {message['error']}", message["remedy"])
        if "finished" in message:
            yield 1, 1
            return
        if message["done"] < message["total"]:
            yield message["done"], message["total"]
    raise SimulatorError(
        f"the process that trained {plan.title} ended", "start again; finished models are kept"
    )


def _stop(worker: subprocess.Popen[str]) -> None:
    if worker.poll() is None:
        worker.terminate()
        try:
            worker.wait(_GRACE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _whole(path: Path) -> bool:
    """Whether a kept file can be read; one that a full disk or a crash damaged is made again."""
    try:
        return bool(_load(path))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return False


def _load(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
