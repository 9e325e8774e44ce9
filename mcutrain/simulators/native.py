"""The firmware as a process of this computer."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from mcutrain.errors import SimulatorError
from mcutrain.simulators.process import SimulatorProcess, SimulatorTransport

#: Exit statuses of ``targets/native/board.c``.
_MEANINGS = {3: "it lost its link", 4: "it could not start its threads", 5: "its power was cut"}


def start(firmware: Path, flash: Path | None = None) -> SimulatorTransport:
    """Run a native firmware, with a file as its flash; raises SimulatorError when it cannot be run."""
    program = firmware.resolve()
    if not os.access(program, os.X_OK):
        raise SimulatorError(f"{program} is not an executable file", "compile the model again")
    environment = {"MCUTRAIN_FLASH": str(flash)} if flash is not None else {}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = SimulatorProcess(
            "native firmware",
            [str(program)],
            Path(tempfile.mkdtemp(prefix="mcutrain-native-")),
            inherit=[theirs.fileno()],
            environment={**environment, "MCUTRAIN_LINK": str(theirs.fileno())},
            explain=lambda status: _MEANINGS.get(status, ""),
        )
        return SimulatorTransport(ours.detach(), process)
