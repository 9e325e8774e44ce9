"""A simulator's process: never left behind, its death noticed at once and explained.

The simulator runs below a small shell that is the leader of a process group of
its own.  The shell's standard input is a pipe whose other end only we hold: when
this process ends, however it ends, the pipe closes and the shell kills the
group.  A terminal's Ctrl-C does not reach the group.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mcutrain.device.transport import DescriptorTransport
from mcutrain.errors import SimulatorError

# $@ is the simulator; descriptor 3 is the pipe that closes when our host ends.
_GUARD = """
exec 3<&0 </dev/null
"$@" 3<&- &
simulator=$!
(read -r _ <&3; kill -KILL 0) 3<&3 &
exec 3<&-
wait "$simulator"
"""
#: Seconds a simulator has to end by itself after goodbye.
_GRACE = 2.0

_running: weakref.WeakSet[SimulatorProcess] = weakref.WeakSet()


class SimulatorProcess:
    """A running simulator.

    Args:
        name: of the simulator, for messages.
        command: what to run.
        folder: its working directory, which is removed at the end.
        inherit: file descriptors it keeps.
        environment: additions to the environment.
        explain: what an exit status means, or an empty string.

    Raises:
        SimulatorError: it cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        inherit: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        explain: Callable[[int], str] = lambda status: "",
    ) -> None:
        self.name = name
        self._folder = folder
        self._explain = explain
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        read_end, self._guard = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *command],
                stdin=read_end,
                stdout=self._log,
                stderr=self._log,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                pass_fds=inherit,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._guard)
            self._log.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise SimulatorError(f"cannot start {name}: {error}", "check the machine's limits") from None
        finally:
            os.close(read_end)
        _running.add(self)

    @property
    def identifier(self) -> int:
        """Number of the process group."""
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def death(self, waiting: str = "") -> SimulatorError:
        """The error that says how it died, with the last lines it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        status = self._process.poll()
        if status is None:
            return SimulatorError(f"{self.name} closed its link but runs on", "start it again")
        how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
        meaning = self._explain(status)
        lines = self.log().strip().splitlines()[-5:]
        reason = f"{self.name} {how}{f' ({meaning})' if meaning else ''}{waiting}"
        if lines:
            reason += f"; it wrote: {' | '.join(lines)}"
        return SimulatorError(reason, "start it again; if it dies again, report this as a bug")

    def log(self) -> str:
        """What it has written to standard output and error."""
        if self._log.closed:
            return ""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def end(self, patience: float = 0.0) -> None:
        """End the whole group, after ``patience`` seconds to end by itself; a second call does nothing."""
        if self._guard < 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        # Before its leader is collected, the group's number cannot belong to another one.
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._guard)
        self._guard = -1
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        _running.discard(self)


class SimulatorTransport(DescriptorTransport):
    """A stream to a simulator; closing it ends the simulator."""

    def __init__(self, descriptor: int, process: SimulatorProcess, keep_open: int = -1) -> None:
        """``keep_open`` is a descriptor to close with the transport (a pty's other end)."""
        super().__init__(descriptor, process.name)
        self.process = process
        self._kept = [keep_open] if keep_open >= 0 else []

    def keep_open(self, descriptor: int) -> None:
        """Close this descriptor, too, when the simulator has ended."""
        self._kept.append(descriptor)

    def lost(self) -> Exception:
        return self.process.death()

    def poll(self) -> None:
        if not self.process.alive():
            raise self.process.death()

    def close(self) -> None:
        # The firmware ends by itself after goodbye, unless it has died or nobody said it.
        self.process.end(0.2)
        super().close()
        while self._kept:
            os.close(self._kept.pop())


@atexit.register
def _end_all() -> None:
    for process in list(_running):
        process.end()
