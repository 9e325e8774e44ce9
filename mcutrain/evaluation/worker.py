"""A process that trains models one after another: ``python -m mcutrain.evaluation.worker``.

A job is a line of JSON on standard input, its progress and its end are lines of JSON on
standard output.  The process ends with its input, that is, at the latest with its parent.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mcutrain.build import Build
from mcutrain.errors import McutrainError
from mcutrain.evaluation.observe import read_parameters
from mcutrain.evaluation.schedule import Schedule
from mcutrain.events import EpochEvent, Event
from mcutrain.executor import Array
from mcutrain.files import whole_file
from mcutrain.npz import read_npz


def run_job(job: dict[str, Any], on_epoch: Any) -> None:
    """Train as ``job`` says and write the weights, by ONNX name, to ``job["out"]``, whole or not at all."""
    build = Build.open(job["build"])
    data = read_npz(Path(job["data"]), ["x", "y"])
    rows = np.array(job["rows"], int)
    schedule = Schedule.from_json(job["schedule"])
    epochs = 0

    def on_event(event: Event) -> None:
        nonlocal epochs
        if isinstance(event, EpochEvent):
            epochs += 1
            on_epoch(epochs, schedule.epochs, event.loss)

    with build.session(workers=1, store=False) as learner:
        if job.get("start"):
            with np.load(job["start"], allow_pickle=False) as start:
                learner.load({name: start[name] for name in start.files})
        schedule.train(learner, data["x"][rows], data["y"][rows], seed=job["seed"], on_event=on_event)
        write_arrays(Path(job["out"]), read_parameters(learner))


def write_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """``arrays`` as an .npz file that is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as half:
        np.savez(half, **arrays)  # type: ignore[arg-type]


def main() -> None:
    # Ctrl-C is the parent's to handle; a termination must end the simulator and its folder too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def say(**message: Any) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    for line in sys.stdin:
        job = json.loads(line)
        try:
            run_job(job, lambda done, total, loss: say(done=done, total=total, loss=loss))
        except McutrainError as error:
            say(error=error.reason, remedy=error.remedy)
        else:
            say(finished=job["out"])


if __name__ == "__main__":
    main()
